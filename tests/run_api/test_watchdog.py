"""A scheduler that is alive but does nothing is noticed, said, and started again."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from benchmarks.servers import RunningServer, run_api_command, start_server


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that gives its scheduler three seconds."""
    import shutil

    folder = tmp_path_factory.mktemp("watched")
    shutil.copytree(Path(__file__).parent / "project", folder / "project")
    server = start_server(folder, *run_api_command(), SCHEDULER_STALE_SECONDS="3")
    yield server
    server.stop()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> object:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def beats(server: RunningServer) -> bool:
    path = server.folder / "state" / "scheduler_heartbeat"
    return path.exists() and time.time() - path.stat().st_mtime < 2


def scheduler_of(server: RunningServer) -> psutil.Process | None:
    """The child of the server that has children itself: its worker pool and its manager."""
    children = psutil.Process(server.process.pid).children()
    return next((child for child in children if len(child.children()) >= 2), None)


def checks(server: RunningServer) -> tuple[int, dict[str, str]]:
    answer = requests.get(f"{server.url}/api/runs/health/ready", timeout=10)
    return answer.status_code, answer.json()["checks"]


def stop(scheduler: psutil.Process) -> None:
    os.kill(scheduler.pid, signal.SIGSTOP)


def kill_helpers(scheduler: psutil.Process) -> None:
    """Kill its manager and its pool, which ends its loop with an exception sooner or later."""
    for child in scheduler.children():
        child.kill()


@pytest.mark.parametrize("harm", [stop, kill_helpers, psutil.Process.kill])
def test_a_scheduler_without_heartbeat_is_replaced(watched: RunningServer, harm: Callable[[psutil.Process], None]):
    wait_for(lambda: beats(watched) and scheduler_of(watched))
    assert wait_for(lambda: checks(watched)[1]["scheduler"] == "ok")
    before = scheduler_of(watched)
    workers = before.children(recursive=True)
    harm(before)
    if harm is stop:
        assert "has not ticked for" in wait_for(lambda: (text := checks(watched)[1]["scheduler"]) != "ok" and text)
    wait_for(lambda: (now := scheduler_of(watched)) and now.pid != before.pid and beats(watched))
    assert not before.is_running() or before.status() == psutil.STATUS_ZOMBIE
    wait_for(lambda: not any(worker.is_running() for worker in workers))
    wait_for(lambda: checks(watched)[1]["scheduler"] == "ok")
    assert watched.call("behaviour", "say", {"word": "hello"}).status_code == 200
