"""What the stack writes is its user's alone."""

import os
import stat
import sys

import pytest

from stack import launch
from stack.console import Console
from workflows.common.files import write_text_atomically
from workflows.common.processes import start_process


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_state_folder_is_private(tmp_path):
    launch.make_private(tmp_path / "new" / "state")
    assert mode(tmp_path / "new" / "state") == 0o700


def test_an_old_state_folder_is_mended_with_its_secrets(tmp_path):
    tmp_path.chmod(0o755)
    secret_files = [tmp_path / name for name in ("secrets.json", "mage/mage-ai.db", "services/llm_server.key")]
    for path in secret_files:
        path.parent.mkdir(exist_ok=True)
        path.write_text("secret")
        path.chmod(0o644)
    launch.make_private(tmp_path)
    assert mode(tmp_path) == 0o700
    assert {mode(path) for path in secret_files} == {0o600}


def test_a_folder_that_all_users_share_stays_open(tmp_path):
    tmp_path.chmod(0o1777)
    (tmp_path / "secrets.json").write_text("secret")
    launch.make_private(tmp_path)
    assert mode(tmp_path) == 0o1777
    assert mode(tmp_path / "secrets.json") == 0o600


def test_a_started_process_writes_private_files(tmp_path):
    write = "import pathlib; pathlib.Path('PATH/f').touch(); pathlib.Path('PATH/d').mkdir()"
    command = [sys.executable, "-c", write.replace("PATH", str(tmp_path))]
    assert start_process(command, tmp_path / "record.json", tmp_path / "log").wait(30) == 0
    assert mode(tmp_path / "f") == mode(tmp_path / "record.json") == 0o600
    assert mode(tmp_path / "d") == 0o700


def test_a_command_writes_private_files(tmp_path):
    def command() -> int:
        (tmp_path / "file").touch()
        write_text_atomically(tmp_path / "folder" / "other", "text")
        return 0

    assert Console().run(command) == 0
    assert mode(tmp_path / "file") == mode(tmp_path / "folder" / "other") == 0o600
    assert mode(tmp_path / "folder") == 0o700
