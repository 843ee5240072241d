"""A thread pool with a bounded queue, for work that an event loop waits for."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class PoolFullError(Exception):
    """All workers are busy and the queue is full."""


class PoolClosedError(Exception):
    """The pool is closed and accepts no more jobs."""


class Job:
    """A submitted function and the future of its result, which belongs to the submitting event loop."""

    def __init__(self, work: "Callable[[Job], None]", loop: asyncio.AbstractEventLoop):
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def resolve(self, result: Any, error: BaseException | None = None) -> None:
        """Set the result or the error of the future, from any thread."""
        self.loop.call_soon_threadsafe(self._set, result, error)

    def _set(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Pool:
    """A pool of daemon threads, so that a block that never ends does not keep the process alive.

    The thread that was busy last is the first to get a job, since the processor still has its data at hand; others are
    started when they are needed.

    Args:
        workers: Maximum number of threads.
        queue: Maximum number of waiting jobs.
    """

    def __init__(self, workers: int, queue: int):
        self._workers = workers
        self._queue = queue
        self._threads = 0
        # Through these, the threads that have nothing to do get their next job; the one that ended last is at the end.
        self._idle: list[SimpleQueue[Job]] = []
        self._waiting: deque[Job] = deque()
        self._closed = False
        self._mean_seconds = 1.0
        self._lock = threading.Lock()

    def submit(self, work: Callable[[Job], None]) -> Job:
        """Queue a function and return its job. Must be called in an event loop.

        The function calls `Job.resolve` with its result. It occupies its worker until it returns, which may be later.

        Raises:
            PoolFullError: all workers are busy and the queue is full.
            PoolClosedError: the pool is closed.
        """
        job = Job(work, asyncio.get_running_loop())
        with self._lock:
            if self._closed:
                raise PoolClosedError
            if self._idle:
                self._idle.pop().put(job)
            elif self._threads < self._workers:
                name = f"run-api-{self._threads}"
                threading.Thread(target=self._run_jobs, args=(job,), name=name, daemon=True).start()
                self._threads += 1
            elif len(self._waiting) < self._queue:
                self._waiting.append(job)
            else:
                raise PoolFullError
        return job

    def cancel(self, job: Job) -> bool:
        """Remove a job from the queue. Return False if it has started: it then runs to its end."""
        with self._lock:
            try:
                self._waiting.remove(job)
            except ValueError:
                return False
            return True

    def retry_after_seconds(self) -> int:
        """Estimate when a worker will be free: the mean duration of a job, from 1 to 60 seconds."""
        return max(1, min(60, math.ceil(self._mean_seconds)))

    def close(self) -> None:
        """Accept no more jobs. Queued jobs still run."""
        with self._lock:
            self._closed = True

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no job runs or waits. Return False on timeout."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with self._lock:
                if len(self._idle) == self._threads:
                    return True
            time.sleep(0.02)
        return False

    def _run_jobs(self, job: Job) -> None:
        jobs: SimpleQueue[Job] = SimpleQueue()
        while True:
            begin = time.monotonic()
            try:
                job.work(job)
            except BaseException as error:
                job.resolve(None, error)
            seconds = time.monotonic() - begin
            # Otherwise an idle worker would keep the last job's data in memory.
            del job
            with self._lock:
                self._mean_seconds += 0.1 * (seconds - self._mean_seconds)
                if self._waiting:
                    job = self._waiting.popleft()
                    continue
                self._idle.append(jobs)
            job = jobs.get()
