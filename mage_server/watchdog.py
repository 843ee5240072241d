"""Notice a scheduler that is alive but does nothing, and have it started again.

Mage's own check looks whether the scheduler's process is alive. When its loop ends on an exception, the process waits
for its worker pool, which lives as long as its parent: neither ends, and no schedule ever runs again. Here every tick
of the loop leaves a heartbeat, the end of the loop ends the process, and the server ends a scheduler whose heartbeat is
too old, whatever the reason. Mage then starts another one, with a job queue that works. A scheduler whose server has
ended ends too: beside that of the next server, it would run everything twice.
"""

import asyncio
import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import psutil
from mage_ai.orchestration.triggers.loop_time_trigger import LoopTimeTrigger
from mage_ai.server import scheduler_manager as manager_module
from mage_ai.server.scheduler_manager import scheduler_manager

from mage_server import job_queue
from mage_server.heartbeat import beat, heartbeat_age_seconds, heartbeat_path, heartbeat_time, start_heartbeat
from mage_server.repeated import repeat
from workflows.common.errors import NotReadyError
from workflows.common.settings import get_settings

logger = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
END_SECONDS = 5.0


def check_scheduler() -> None:
    """Check that the scheduler works, where this server has one.

    Raises:
        NotReadyError: says since when it has not ticked.
    """
    if scheduler_manager.scheduler_process is None:
        return
    age = heartbeat_age_seconds()
    if age is None or age >= get_settings().scheduler_stale_seconds:
        since = "yet" if age is None else f"for {age:.0f} s"
        raise NotReadyError(f"The scheduler has not ticked {since}; it is started again by itself")


def install() -> None:
    """Let the scheduler leave heartbeats, and end with its loop and with this process. Before Mage starts it."""
    # One of an earlier start would count as stale.
    heartbeat_path().unlink(missing_ok=True)
    LoopTimeTrigger.run = _with_heartbeat(LoopTimeTrigger.run, os.getpid())
    manager_module.run_scheduler = _ending_with_its_loop(manager_module.run_scheduler)
    manager_module.create_process = _with_usable_queue(manager_module.create_process)


def _with_usable_queue(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create_process(*args: Any, **kwargs: Any) -> Any:
        job_queue.renew()
        return original(*args, **kwargs)

    return create_process


def _with_heartbeat(original: Callable[..., Any], server_pid: int) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(self: LoopTimeTrigger) -> None:
        if os.getppid() != server_pid:
            raise RuntimeError("The server has ended")
        original(self)
        beat()

    return run


def _ending_with_its_loop(original: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(original)
    def run_scheduler() -> None:
        # Started again, it is forked from the server's running event loop, and blocks would wait in a copy of it.
        asyncio.set_event_loop(asyncio.new_event_loop())
        start_heartbeat()
        try:
            original()
        except BaseException:
            logger.exception("The scheduler's loop has ended; its process ends too, and is started again")
        # A normal exit would wait for the workers.
        end_process_tree(psutil.Process())
        os._exit(1)

    return run_scheduler


class Watchdog:
    """Ends a scheduler without heartbeat, in a thread of the server's process.

    Args:
        restart: Has Mage start the scheduler again; called from the thread.
    """

    def __init__(self, restart: Callable[[], None]) -> None:
        self._restart = restart
        self._last_beat: float | None = None
        self._seen_at = time.monotonic()

    def start(self) -> None:
        """Start the thread."""
        repeat(self.check, CHECK_SECONDS, "scheduler-watchdog")

    def check(self) -> None:
        """End a scheduler whose heartbeat is too old, and have it started again."""
        beat_at, now = heartbeat_time(), time.monotonic()
        if beat_at != self._last_beat:
            self._last_beat, self._seen_at = beat_at, now
        # Measured here: the clock may be moved, and a machine may sleep.
        age, pid = now - self._seen_at, scheduler_manager.get_scheduler_pid()
        if pid is None or beat_at is None or age < get_settings().scheduler_stale_seconds:
            return
        logger.error("The scheduler (process %s) has not ticked for %.0f s; it is started again", pid, age)
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            end_process_tree(process)
            process.kill()
            # Reaps it, so that Mage sees that it has ended.
            scheduler_manager.scheduler_process.join(END_SECONDS)
        heartbeat_path().unlink(missing_ok=True)
        self._restart()


def end_process_tree(process: psutil.Process) -> None:
    """Kill the children of a process, and theirs."""
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
