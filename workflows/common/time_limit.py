"""Until when somebody waits for the present work, so that it does not wait longer than its caller."""

import contextlib
import math
import time
from collections.abc import Iterator
from contextvars import ContextVar

_ENDS_AT: ContextVar[float] = ContextVar("ends_at", default=math.inf)


@contextlib.contextmanager
def time_limit(ends_at: float) -> Iterator[None]:
    """Let what runs here, in this thread, wait until a time of `time.monotonic` at the latest."""
    token = _ENDS_AT.set(ends_at)
    try:
        yield
    finally:
        _ENDS_AT.reset(token)


def remaining_seconds() -> float:
    """Return how long the present work may still wait; infinite without a limit."""
    return max(0.0, _ENDS_AT.get() - time.monotonic())
