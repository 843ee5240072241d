import json
import shutil
import socket
from types import SimpleNamespace

import psutil
import pytest

from stack.mage_process import StackError, check_can_start, record_path
from workflows.common.processes import free_port, stop_recorded
from workflows.common.settings import Settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path / "state", port=free_port())


def test_a_free_port_and_enough_disk_are_fine(settings):
    check_can_start(settings)
    assert settings.state_dir.is_dir()


def test_a_port_in_use_is_one_clear_line(settings):
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.port))
        other.listen()
        with pytest.raises(StackError, match=rf"^Port {settings.port} of 127\.0\.0\.1 is in use.*PORT=") as caught:
            check_can_start(settings)
    assert "\n" not in str(caught.value)


def test_too_little_disk_is_one_clear_line(settings, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1024**3))
    with pytest.raises(StackError, match=r"has 1\.0 GiB free, but 2 GiB are required"):
        check_can_start(settings)


def record(settings, pid: int, created: float) -> None:
    path = record_path(settings)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"pid": pid, "created": created, "port": settings.port}))


def test_a_second_stack_on_one_state_folder_is_refused(settings):
    this = psutil.Process()
    record(settings, this.pid, this.create_time())
    with pytest.raises(StackError, match="already runs"):
        check_can_start(settings)


def test_another_process_with_the_recorded_id_is_left_alone(settings):
    this = psutil.Process()
    record(settings, this.pid, this.create_time() - 3600)
    check_can_start(settings)
    assert stop_recorded(record_path(settings)) is False
    assert this.is_running()
