"""Mage's queue of jobs, with three of its races closed.

Mage's scheduler puts each block run into a queue, from which a pool of workers takes it. As shipped
(`mage_ai/orchestration/queue/process_queue.py`):

- the pool ends when it is idle, and a job that is put while it ends waits until some other job comes;
- a worker may take a job before the queue has noted it, and fails;
- a job that is on its way into the queue or out of it looks lost, and is put a second time, so the block runs twice.

Here the pool stays as long as its scheduler, a job is noted before it is put, and it counts as lost only
after a while. A queue with Redis, or Celery's, is left as it is.
"""

import contextlib
import multiprocessing
import os
import queue as queues
import time
from collections.abc import Callable
from typing import Any

from mage_ai.data_preparation.repo_manager import get_repo_config
from mage_ai.orchestration.queue.config import QueueConfig, QueueType
from mage_ai.orchestration.queue.process_queue import JobStatus, ProcessQueue, QueueStatus, Worker
from mage_ai.orchestration.queue.queue_factory import QueueFactory

POLL_SECONDS = 0.1
# How long a job may be on its way before it counts as lost; a worker takes it within a second or so.
LOST_AFTER_SECONDS = 15


class JobQueue(ProcessQueue):
    """A drop-in for Mage's `ProcessQueue`; the method names are Mage's."""

    def __init__(self, queue_config: QueueConfig):
        super().__init__(queue_config)
        self._put_at: dict[str, float] = {}

    def enqueue(self, job_id: str, target: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Put a job into the queue, unless it is there or under way."""
        if self.status != QueueStatus.ACTIVE or self.has_job(job_id):
            return
        self._put_at[job_id] = time.monotonic()
        self.job_dict[job_id] = JobStatus.QUEUED
        self.queue.put([job_id, target, args, kwargs])
        if not self.is_worker_pool_alive():
            self.start_worker_pool()

    def has_job(self, job_id: str, logger: Any = None, logging_tags: dict[str, Any] | None = None) -> bool:
        """Whether a job waits in the queue, is on its way to a worker, or is under way."""
        if self.job_dict.get(job_id) == JobStatus.QUEUED:
            waited = time.monotonic() - self._put_at.get(job_id, float("-inf"))
            if waited < LOST_AFTER_SECONDS or not self.queue.empty():
                return True
        else:
            self._put_at.pop(job_id, None)
        return bool(super().has_job(job_id, logger=logger, logging_tags=logging_tags))

    def start_worker_pool(self) -> None:
        """Start the process that starts a worker for each job."""
        self.worker_pool_proc = multiprocessing.Process(
            target=run_jobs, args=(self.queue, self.size, self.job_dict, os.getpid())
        )
        self.worker_pool_proc.start()


class OneJob:
    """What a worker takes its job from: a job that was taken out of the queue for it."""

    def __init__(self, job: list[Any]):
        self.job = job

    def empty(self) -> bool:
        """There is always the job."""
        return False

    def get(self) -> list[Any]:
        """Return the job."""
        return self.job


def run_jobs(queue: "multiprocessing.Queue[Any]", size: int, job_dict: Any, scheduler_pid: int) -> None:
    """Start a worker for each job in the queue, at most `size` at a time, as long as the scheduler lives."""
    workers: list[Worker] = []
    while os.getppid() == scheduler_pid:
        workers = [worker for worker in workers if worker.is_alive()]
        if len(workers) >= size:
            time.sleep(POLL_SECONDS)
            continue
        with contextlib.suppress(queues.Empty):
            worker = Worker(OneJob(queue.get(timeout=POLL_SECONDS)), job_dict)
            worker.start()
            workers.append(worker)


def install() -> None:
    """Have Mage use this queue; call it once the project's path is set and before the scheduler is imported."""
    config = QueueConfig.load(config=get_repo_config().queue_config or {})
    if config.queue_type == QueueType.PROCESS:
        made = JobQueue(config)
        # With Redis, Mage tracks jobs of several machines there.
        QueueFactory.queue = ProcessQueue(config) if made.redis_client else made
