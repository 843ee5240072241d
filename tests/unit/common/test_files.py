import os
import stat
from pathlib import Path

import pytest

from workflows.common.files import write_text_atomically


def test_a_file_is_replaced_with_its_mode(tmp_path):
    path = tmp_path / "folder" / "secret.json"
    write_text_atomically(path, "old")
    write_text_atomically(path, "new", mode=0o600)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text_atomically(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synchronised and renamed in the folder `parent`, in order."""
    happened: list[str] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(handle: int) -> None:
        is_parent = os.path.samestat(os.fstat(handle), (tmp_path / "parent").stat())
        happened.append("parent" if is_parent else "temporary")
        fsync(handle)

    monkeypatch.setattr("os.fsync", recorded_fsync)
    monkeypatch.setattr("os.replace", lambda *paths: happened.append("renamed") or replace(*paths))
    return happened


def test_names_outlive_a_loss_of_power(tmp_path, events):
    write_text_atomically(tmp_path / "parent" / "file", "text")
    assert events == ["temporary", "renamed", "parent"]


def test_a_file_system_that_cannot_synchronise_folders_is_none_the_worse(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError("not here")
        fsync(handle)

    monkeypatch.setattr("os.fsync", refuse_folders)
    write_text_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"
