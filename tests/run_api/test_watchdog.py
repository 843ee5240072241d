"""A scheduler that is alive but does nothing is noticed, said, and started again."""

import multiprocessing
import os
import shutil
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
    path = server.folder / "state" / "scheduler_heartbeat"
    try:
        return psutil.Process(int(path.read_text()))
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def checks(server: RunningServer) -> tuple[int, dict[str, str]]:
    answer = requests.get(f"{server.url}/api/runs/health/ready", timeout=10)
    return answer.status_code, answer.json()["checks"]


def stop(scheduler: psutil.Process) -> None:
    os.kill(scheduler.pid, signal.SIGSTOP)


@pytest.mark.parametrize("harm", [stop, psutil.Process.kill])
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


def broken_loop(child_pid: "multiprocessing.Value") -> None:
    """A scheduler whose worker outlives its loop."""
    from mage_server import watchdog

    def loop() -> None:
        child = multiprocessing.Process(target=time.sleep, args=(600,))
        child.start()
        child_pid.value = child.pid
        raise RuntimeError("the manager is gone")

    watchdog._ending_with_its_loop(loop)()


def test_a_scheduler_ends_with_its_loop():
    """By itself the process would wait for its worker."""
    child_pid = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=broken_loop, args=(child_pid,))
    process.start()
    process.join(30)
    assert process.exitcode == 1
    wait_for(lambda: not psutil.pid_exists(child_pid.value) or psutil.Process(child_pid.value).status() == "zombie", 10)


def test_a_clock_that_was_moved_ends_no_scheduler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from mage_server import watchdog
    from mage_server.heartbeat import heartbeat_path, start_heartbeat

    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setattr(watchdog.scheduler_manager, "get_scheduler_pid", os.getpid)
    restarts: list[int] = []
    start_heartbeat()
    os.utime(heartbeat_path(), (0, 0))
    watchdog.Watchdog(lambda: restarts.append(1)).check()
    assert restarts == []
