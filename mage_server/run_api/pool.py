"""A bounded pool of threads with a bounded queue, for work that an event loop waits for."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any


class PoolFullError(Exception):
    """Every worker is busy and every place in the queue is taken."""


class PoolClosedError(Exception):
    """The pool takes no more work."""


class Job:
    """A piece of work and the future of its result, which belongs to the event loop that submitted it."""

    def __init__(self, work: "Callable[[Job], None]", loop: asyncio.AbstractEventLoop):
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def resolve(self, result: Any, error: BaseException | None = None) -> None:
        """Give the result to the event loop, from any thread."""
        self.loop.call_soon_threadsafe(self._set, result, error)

    def _set(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Pool:
    """Threads that end with the process, so that a block that never ends cannot keep it alive.

    Args:
        workers: How many pieces of work run at a time.
        queue: How many wait at the most.
    """

    def __init__(self, workers: int, queue: int):
        self._workers = workers
        self._capacity = workers + queue
        self._waiting: deque[Job] = deque()
        self._running = 0
        self._closed = False
        self._mean_seconds = 1.0
        self._condition = threading.Condition()
        for number in range(workers):
            threading.Thread(target=self._serve, name=f"run-api-{number}", daemon=True).start()

    def submit(self, work: Callable[[Job], None]) -> Job:
        """Queue work and return its job; called on an event loop.

        The work gives its result by `Job.resolve`, and holds its place until it returns, which may be later.

        Raises:
            PoolFullError: no place is free.
            PoolClosedError: after `close`.
        """
        job = Job(work, asyncio.get_running_loop())
        with self._condition:
            if self._closed:
                raise PoolClosedError
            if self._running + len(self._waiting) >= self._capacity:
                raise PoolFullError
            self._waiting.append(job)
            self._condition.notify()
        return job

    def withdraw(self, job: Job) -> bool:
        """Take a job out of the queue; False where it has begun: it goes on and keeps its place until it ends."""
        with self._condition:
            try:
                self._waiting.remove(job)
            except ValueError:
                return False
            return True

    def retry_after_seconds(self) -> int:
        """Guess when a place is free: the mean time of a call, from 1 to 60."""
        return max(1, min(60, math.ceil(self._mean_seconds)))

    def close(self) -> None:
        """Take no more work; what is queued still runs."""
        with self._condition:
            self._closed = True

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until nothing runs or waits; say whether that came in time."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with self._condition:
                if not self._running and not self._waiting:
                    return True
            time.sleep(0.02)
        return False

    def _serve(self) -> None:
        while True:
            with self._condition:
                while not self._waiting:
                    self._condition.wait()
                job = self._waiting.popleft()
                self._running += 1
            begin = time.monotonic()
            try:
                job.work(job)
            except BaseException as error:
                job.resolve(None, error)
            seconds = time.monotonic() - begin
            # The work and what it holds are not kept until the next job comes.
            del job
            with self._condition:
                self._running -= 1
                self._mean_seconds += 0.1 * (seconds - self._mean_seconds)
