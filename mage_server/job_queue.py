"""Mage's job queue without four of its race conditions, and usable after any of its processes was killed.

Mage's scheduler puts each block run into a queue, and a pool of workers executes them. As shipped
(`mage_ai/orchestration/queue/process_queue.py`):

- The pool stops when it is idle. A job enqueued while the pool stops waits until another job is enqueued.
- A worker can take a job before the queue has registered it, and then fails.
- A job that is moving into or out of the queue looks lost. It is enqueued again, so its block runs twice.
- So does a job that ends between two looks of the scheduler: at its block's status, and at the queue.

Here the pool runs as long as its scheduler, a job is registered before it is enqueued, and a job counts as lost
only after `LOST_AFTER_SECONDS`, or once the scheduler has seen that it ended and has looked again. Queues that use
Redis or Celery are not changed.
"""

import contextlib
import gc
import multiprocessing
import os
import queue as queues
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection
from multiprocessing.managers import SyncManager
from typing import Any

from mage_ai.data_preparation.repo_manager import get_repo_config
from mage_ai.orchestration.db import db_connection, engine
from mage_ai.orchestration.queue import process_queue
from mage_ai.orchestration.queue.config import QueueConfig, QueueType
from mage_ai.orchestration.queue.process_queue import JobStatus, ProcessQueue, QueueStatus, Worker
from mage_ai.orchestration.queue.queue_factory import QueueFactory
from mage_ai.settings import ENABLE_NEW_RELIC, SENTRY_DSN
from sqlalchemy.exc import SQLAlchemyError

from mage_server import wakeups
from workflows.common.processes import is_alive

# The pool looks this often whether its scheduler still runs.
POLL_SECONDS = 1.0
# A worker normally takes a job within about a second.
LOST_AFTER_SECONDS = 15


class JobQueue(ProcessQueue):
    """A replacement for Mage's `ProcessQueue`, with the same methods."""

    queue: "multiprocessing.Queue[Any]"
    job_dict: Any

    def __init__(self, queue_config: QueueConfig):
        super().__init__(queue_config)
        self._enqueued_at: dict[str, float] = {}
        self._seen_ended: set[str] = set()

    def enqueue(self, job_id: str, target: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Add a job to the queue, unless it is queued or running already."""
        if self.status != QueueStatus.ACTIVE or self._is_under_way(job_id):
            return
        self._keep_pool_alive()
        self._seen_ended.discard(job_id)
        self._enqueued_at[job_id] = time.monotonic()
        self.job_dict[job_id] = JobStatus.QUEUED
        self.queue.put([job_id, target, args, kwargs])

    def has_job(self, job_id: str, logger: Any = None, logging_tags: dict[str, Any] | None = None) -> bool:  # noqa: ARG002
        """Whether a job is queued, being handed to a worker, or running, or may have been a moment ago.

        Mage reads a block's status first and asks for its job then. A job that ended in between must not look lost, so
        the first look after the end still finds it.
        """
        if self._is_under_way(job_id):
            return True
        if job_id in self._seen_ended or self.job_dict.get(job_id) in (None, JobStatus.QUEUED):
            return False
        self._seen_ended.add(job_id)
        return True

    def clean_up_jobs(self) -> None:
        """Forget jobs that have ended. Mage calls this at every tick of the scheduler."""
        super().clean_up_jobs()
        known = set(self.job_dict.keys())
        self._seen_ended &= known
        if known:
            self._keep_pool_alive()

    def start_worker_pool(self) -> None:
        """Start the process that starts one worker process per job."""
        self.worker_pool_proc = multiprocessing.Process(
            target=run_worker_pool, args=(self.queue, self.size, self.job_dict, os.getpid())
        )
        self.worker_pool_proc.start()

    def renew(self) -> None:
        """Replace what an ended scheduler, pool or manager may have left locked, lost or broken.

        Jobs that run are kept. Those that waited are forgotten, so that the scheduler puts them again.
        """
        try:
            waiting = [job_id for job_id, status in self.job_dict.copy().items() if status == JobStatus.QUEUED]
        except (EOFError, OSError):
            self.mp_manager, waiting = start_manager(), []
            self.job_dict = self.mp_manager.dict()
        for job_id in waiting:
            del self.job_dict[job_id]
        # A process that was killed while it read keeps the queue locked.
        self.queue = multiprocessing.Queue()

    def _keep_pool_alive(self) -> None:
        if self.is_worker_pool_alive():
            return
        if self.worker_pool_proc is not None:
            self.renew()
        self.start_worker_pool()

    def _is_under_way(self, job_id: str) -> bool:
        job = self.job_dict.get(job_id)
        if job == JobStatus.QUEUED:
            waited = time.monotonic() - self._enqueued_at.get(job_id, float("-inf"))
            return waited < LOST_AFTER_SECONDS or not self.queue.empty()
        return isinstance(job, int) and is_alive(job)


def start_manager() -> SyncManager:
    """Start the process that holds the state of jobs; it ends with this process, also where that one is killed."""
    manager = SyncManager()
    manager.start(initializer=_watch_parent, initargs=(os.getpid(),))
    return manager


def _watch_parent(parent_pid: int) -> None:
    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(1)
        # The folder of its socket, which nobody else removes.
        shutil.rmtree(multiprocessing.util.get_temp_dir(), ignore_errors=True)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class BlockWorker(Worker):
    """A process that executes one job, without New Relic's agent where that has nothing to report to.

    It has a table of jobs of its own, so that it need not connect to the manager: the pool keeps the real one.
    Logging and Sentry are set up once, in the pool, where Mage does it for each worker.
    """

    run = Worker.run if ENABLE_NEW_RELIC else Worker.run.__wrapped__

    def __init__(self, job: list[Any]):
        multiprocessing.Process.__init__(self)
        self.job_id, self.dsn = job[0], SENTRY_DSN
        self.queue: queues.SimpleQueue[list[Any]] = queues.SimpleQueue()
        self.queue.put(job)
        self.job_dict = {self.job_id: JobStatus.QUEUED}


def run_worker_pool(queue: Any, size: int, job_dict: Any, scheduler_pid: int) -> None:
    """Start one worker per queued job, at most `size` at a time, until the scheduler process ends."""
    # Sets up logging and Sentry.
    Worker(queue, job_dict)
    # A worker that used or closed the scheduler's own connections would break them.
    inherited = db_connection.session, engine.pool
    engine.dispose(close=False)
    db_connection.start_session(force=True)
    with contextlib.suppress(SQLAlchemyError), _no_connection_left():
        _compile_statements()
    # A worker's collector would otherwise write to, and so copy, every page that holds an object of this process.
    gc.freeze()
    workers: list[BlockWorker] = []
    while os.getppid() == scheduler_pid:
        ended = [worker for worker in workers if not worker.is_alive()]
        if ended:
            workers = [worker for worker in workers if worker not in ended]
            for worker in ended:
                if job_dict.get(worker.job_id) == worker.pid:
                    job_dict[worker.job_id] = JobStatus.COMPLETED
            wakeups.wake()
        is_full = len(workers) >= size
        connection.wait([worker.sentinel for worker in workers] + ([] if is_full else [queue._reader]), POLL_SECONDS)
        if is_full:
            continue
        with contextlib.suppress(queues.Empty):
            worker = BlockWorker(queue.get_nowait())
            if job_dict.get(worker.job_id) != JobStatus.QUEUED:
                continue
            # Read here, if it is time to, it is not read by each worker. It may name secrets of Mage's database.
            with _no_connection_left():
                for is_root in (False, True):
                    get_repo_config(root_project=is_root)
            worker.start()
            job_dict[worker.job_id] = worker.pid
            workers.append(worker)
    del inherited


@contextlib.contextmanager
def _no_connection_left() -> Iterator[None]:
    """Close the connections of this process, which workers must not share."""
    try:
        yield
    finally:
        db_connection.session.close()
        engine.dispose()


def _compile_statements() -> None:
    """Have SQLAlchemy compile what each worker asks Mage's database, which takes longer than the answers."""
    from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun, PipelineSchedule

    for model in (PipelineRun, BlockRun, PipelineSchedule):
        if row := model.query.get(0) or model.query.first():
            db_connection.session.expire(row)
            # Reads the row again, as after a commit.
            getattr(row, "pipeline_schedule", row.updated_at)
    BlockRun.get(0, "")


def install() -> None:
    """Make Mage use this queue. Call it after the project's path is set and before the scheduler is imported."""
    process_queue.Manager = start_manager
    config = QueueConfig.load(config=get_repo_config().queue_config or {})
    if config.queue_type == QueueType.PROCESS:
        job_queue = JobQueue(config)
        # With Redis, Mage tracks the jobs of several machines there.
        QueueFactory.queue = ProcessQueue(config) if job_queue.redis_client else job_queue


def renew() -> None:
    """Make the queue usable for a scheduler that is about to be started."""
    if isinstance(QueueFactory.queue, JobQueue):
        QueueFactory.queue.renew()
