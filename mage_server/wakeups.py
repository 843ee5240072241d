"""A pipe through which the processes that are forked from the server wake its scheduler."""

import contextlib
import os
import select
import time

# What happens at the same time is seen to by one look.
SETTLE_SECONDS = 0.02

# Without a lock, so that a process that is killed leaves none behind.
_READER, _WRITER = os.pipe()
os.set_blocking(_READER, False)
os.set_blocking(_WRITER, False)


def wake() -> None:
    """End the present or the next `wait`."""
    # A full pipe holds what wakes the scheduler.
    with contextlib.suppress(BlockingIOError):
        os.write(_WRITER, b"\0")


def wait(seconds: float) -> None:
    """Wait until `wake` is called in some process, at most for this time."""
    readable, _, _ = select.select([_READER], [], [], max(0.0, seconds))
    if readable:
        time.sleep(SETTLE_SECONDS)
        os.read(_READER, 65536)
