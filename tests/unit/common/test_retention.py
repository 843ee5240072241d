import os

import pytest

from workflows.common.retention import Retention, remove_old

NOW = 1_000_000.0


@pytest.fixture
def entries(tmp_path):
    """Five entries of 10 bytes, 0 to 4 hours old; the youngest is a folder."""
    paths = []
    for hours in range(5):
        path = tmp_path / f"entry_{hours}"
        if hours == 0:
            path.mkdir()
            (path / "inside").write_bytes(b"0" * 10)
        else:
            path.write_bytes(b"0" * 10)
        os.utime(path, (NOW - 3600 * hours,) * 2)
        paths.append(path)
    return paths


def left(paths):
    return [path.name for path in paths if path.exists()]


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(), 5),
        (Retention(keep=2), 2),
        (Retention(keep=0), 0),
        (Retention(max_age_seconds=2.5 * 3600), 3),
        (Retention(keep=1, min_age_seconds=2.5 * 3600), 3),
        (Retention(keep=4, max_age_seconds=3600), 1),
    ],
)
def test_the_newest_stay(entries, retention, kept):
    removed = remove_old(entries, retention, now=NOW)
    assert left(entries) == [f"entry_{hours}" for hours in range(kept)]
    assert set(removed) == set(entries[kept:])


def test_size_counts_from_the_newest(entries):
    remove_old(entries[1:], Retention(max_bytes=25), now=NOW)
    assert left(entries) == ["entry_0", "entry_1", "entry_2"]


def test_what_is_protected_stays(entries):
    remove_old(entries, Retention(keep=1), is_protected=lambda path: path.name == "entry_3", now=NOW)
    assert left(entries) == ["entry_0", "entry_3"]


def test_what_is_gone_already_is_passed_over(entries, tmp_path):
    assert remove_old([*entries, tmp_path / "gone"], Retention(keep=5), now=NOW) == []
