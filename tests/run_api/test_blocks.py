import os
import time
from pathlib import Path

import pytest

from mage_server.callable_blocks import CALLABLE_BLOCKS

PROJECT = Path(__file__).parent / "project"


def never(_pipeline: str) -> bool:
    return False


class TestBlocks:
    def test_a_block_added_above_does_not_ask_for_a_run_that_there_was(self):
        from mage_server.run_api.blocks import Blocks
        from workflows.common.errors import NotReadyError

        def found(has_completed_run):
            return Blocks(PROJECT, has_completed_run).find("behaviour", "below_never_executed")

        with pytest.raises(NotReadyError, match="never_executed"):
            found(never).check_upstream()
        found(lambda pipeline: pipeline == "behaviour").check_upstream()

    @pytest.mark.parametrize(
        ("pipeline", "block", "is_plain"),
        [
            ("outputs", "return_frame", True),
            ("outputs", "return_inputs", True),
            ("behaviour", "wait", True),
            ("by_mage", "conditioned", False),
            ("by_mage", "spread", False),
            ("by_mage", "spread_child", False),
        ],
    )
    def test_which_blocks_mage_executes(self, pipeline: str, block: str, is_plain: bool):
        from mage_server.run_api.blocks import Blocks

        blocks = Blocks(PROJECT, never)
        assert (blocks.find(pipeline, block).compiled is not None) is is_plain

    def test_the_documented_blocks_are_executed_without_mage(self):
        from mage_server.run_api.blocks import Blocks
        from workflows.common.settings import REPO_PATH

        blocks = Blocks(REPO_PATH, never)
        assert all(blocks.find(block.pipeline, block.block).compiled is not None for block in CALLABLE_BLOCKS)

    def test_an_unchanged_block_is_compiled_once(self):
        from mage_server.run_api.blocks import Blocks

        blocks = Blocks(PROJECT, never)
        assert blocks.find("behaviour", "say") is blocks.find("behaviour", "say")


class TestWatchedFile:
    def test_changes(self, tmp_path: Path):
        from mage_server.run_api.watched_file import WatchedFile

        path = tmp_path / "file"
        path.write_text("one")
        watched = WatchedFile(path)
        assert watched.has_changed()
        assert not watched.has_changed()
        # Other bytes, same length, same time stamp: too young to be believed.
        stamp = path.stat().st_mtime_ns
        path.write_text("two")
        os.utime(path, ns=(stamp, stamp))
        assert watched.has_changed()
        assert watched.content == b"two"
        path.unlink()
        with pytest.raises(FileNotFoundError):
            watched.has_changed()

    def test_an_old_file_is_not_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        from mage_server.run_api.watched_file import WatchedFile

        path = tmp_path / "file"
        path.write_text("one")
        old = time.time() - 60
        os.utime(path, (old, old))
        watched = WatchedFile(path)
        assert watched.has_changed()
        monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read again"))
        assert not watched.has_changed()
