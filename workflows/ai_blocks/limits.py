"""Limits on calls of the language model that all processes of a state folder share.

Three limits: calls at the same time, calls that start within a minute, and a pause of all calls after a provider
answered 429. They are kept as small files and locks, not in a database: the operating system frees a lock when its
holder dies, and nothing stays open in a process that Mage forks.
"""

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from workflows.common.errors import ServiceError
from workflows.common.files import write_text_atomically
from workflows.common.time_limit import remaining_seconds

WINDOW_SECONDS = 60.0
POLL_SECONDS = 0.05
# A waiting process looks again at least this often: another process may have extended the pause.
LONGEST_SLEEP_SECONDS = 1.0


@dataclass(frozen=True)
class CallLimits:
    """The limits of one state folder."""

    folder: Path
    at_once: int  # Largest number of calls at the same time.
    per_minute: int | None  # Largest number of calls that start within 60 s; None is no limit.
    wait_seconds: float  # Longest wait of one call, all its waits together.
    clock: Callable[[], float] = time.time  # Seconds since 1970, the same for all processes.
    sleep: Callable[[float], None] = time.sleep

    def deadline(self) -> float:
        """Return until when a call that begins now may wait, on this object's clock: no longer than its caller does."""
        return self.clock() + min(self.wait_seconds, remaining_seconds())

    @contextlib.contextmanager
    def place(self, deadline: float) -> Iterator[None]:
        """Hold one of the places for calls at the same time, from the moment when a call may start.

        Raises:
            ServiceError: the limits did not let the call start before the deadline; names the setting.
        """
        with self._free_place(deadline):
            while (wait := self._start()) > 0:
                if self.clock() + wait > deadline:
                    raise ServiceError(
                        f"The language model was not called: the limit of {self.per_minute} calls a minute "
                        "(MAX_LLM_CALLS_PER_MINUTE), or the pause that the provider asked for, lasts longer than "
                        f"{self.wait_seconds:g} s (LLM_WAIT_SECONDS), or than the caller waits"
                    )
                self.sleep(min(wait, LONGEST_SLEEP_SECONDS))
            yield

    def pause(self, seconds: float, deadline: float) -> bool:
        """Let no call of any process start for some time that one may wait; False where it is beyond the deadline."""
        until = self.clock() + seconds
        if seconds <= self.wait_seconds:
            with FileLock(self.folder / "starts.lock"):
                paused_until, starts = self._read_starts()
                self._write_starts(max(paused_until, until), starts)
        return until <= deadline

    def _free_place(self, deadline: float) -> AcquireReturnProxy:
        """Return a place that nobody holds, as a context manager that gives it back."""
        while True:
            for number in random.sample(range(self.at_once), self.at_once):
                with contextlib.suppress(Timeout):
                    return FileLock(self.folder / f"call_{number}.lock").acquire(timeout=0)
            if self.clock() >= deadline:
                raise ServiceError(
                    f"The language model was not called: all {self.at_once} places (MAX_LLM_CALLS_AT_ONCE) were "
                    f"taken for {self.wait_seconds:g} s (LLM_WAIT_SECONDS), or as long as the caller waits"
                )
            self.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))

    def _start(self) -> float:
        """Note the start of a call and return 0, or return the seconds until one may start."""
        with FileLock(self.folder / "starts.lock"):
            paused_until, starts = self._read_starts()
            now = self.clock()
            if paused_until > now:
                return paused_until - now
            if self.per_minute is None:
                return 0.0
            # Times in the future were written before the clock was set back.
            recent = sorted(start for start in starts if now - WINDOW_SECONDS < start <= now)
            if len(recent) >= self.per_minute:
                return recent[-self.per_minute] + WINDOW_SECONDS - now
            self._write_starts(0.0, [*recent, now])
            return 0.0

    def _read_starts(self) -> tuple[float, list[float]]:
        """Return the end of the pause and the times at which the last calls started."""
        try:
            content = json.loads((self.folder / "starts.json").read_text(encoding="utf-8"))
            paused_until, starts = float(content["paused_until"]), [float(start) for start in content["starts"]]
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0, []
        # A pause longer than any call could have asked for was written before the clock was set back.
        return (paused_until if paused_until <= self.clock() + self.wait_seconds else 0.0), starts

    def _write_starts(self, paused_until: float, starts: list[float]) -> None:
        content = json.dumps({"paused_until": paused_until, "starts": starts})
        write_text_atomically(self.folder / "starts.json", content)
