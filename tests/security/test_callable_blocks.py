"""A token executes only blocks that are meant to be called."""

from pathlib import Path

import pytest

from benchmarks.servers import RunningServer


def test_a_block_that_nobody_has_registered_is_not_executed(open_server: RunningServer, tmp_path: Path):
    mark = tmp_path / "mark"
    answer = open_server.call("behaviour", "not_callable", {"mark": str(mark)})
    assert answer.status_code == 403
    assert "run_api: true" in answer.json()["error"]["message"]
    assert not mark.exists()
    assert open_server.rows("SELECT count(*) FROM block_run WHERE block_uuid = 'not_callable'") == [(0,)]


def test_nor_above_one_that_is(open_server: RunningServer, tmp_path: Path):
    mark = tmp_path / "mark"
    assert open_server.output("behaviour", "below_not_callable", {"mark": str(mark)}) == [1]
    mark.unlink()
    answer = open_server.call("behaviour", "below_not_callable", {"mark": str(mark)}, run_upstream_blocks=True)
    assert answer.status_code == 403
    assert not mark.exists()


@pytest.mark.parametrize("value", ["a\0b", ["x", {"y": "\0"}], {"\0": 1}])
def test_nul_in_a_variable_is_refused(open_server: RunningServer, value: object):
    answer = open_server.call("behaviour", "say", {"word": value, "other": 1})
    assert answer.status_code == 422
    assert [detail["field"] for detail in answer.json()["error"]["details"]] == ["variables.word"]


def test_an_escaped_backslash_is_no_nul(open_server: RunningServer):
    assert open_server.output("behaviour", "say", {"word": "\\u0000"})[0]["said"] == "\\u0000"
