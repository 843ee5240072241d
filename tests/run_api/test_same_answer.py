"""The answer of a block is the one that Mage's own handler gives on the same project."""

from importlib.metadata import version

import pytest

from benchmarks.servers import RunningServer

# On later releases Mage's own handler fails for every call.
pytestmark = pytest.mark.skipif(version("mage-ai") != "0.9.79", reason="Mage's own handler works on 0.9.79 alone")

CALLS = [
    *(("outputs", f"return_{kind}", {}) for kind in (
        "frame", "dictionary", "bare_list", "long_list", "text", "number", "nothing", "not_a_number", "several",
        "times", "numpy_types",
    )),
    ("outputs", "return_arguments", {"asked": "é", "env": "mine", "nested": {"a": [1]}}),
    ("outputs", "return_arguments", {"pipeline_uuid": "other", "configuration": {"a": 1}, "context": {"c": 1}}),
    ("outputs", "return_inputs", {"asked": "x"}),
    ("outputs", "write_log", {"word": "hello"}),
    ("by_mage", "conditioned", {"word": "hello"}),
    ("by_mage", "spread", {}),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("record", [True, False])
def test_same_answer(server: RunningServer, shipped: RunningServer, call, record):
    pipeline, block, variables = call
    expected = shipped.call(pipeline, block, variables, record=record, store_variables=record)
    got = server.call(pipeline, block, variables, record=record, store_variables=record)
    assert "error" not in expected.json()
    assert got.text == expected.text


def test_same_answer_below_blocks_that_are_run_first(server: RunningServer, shipped: RunningServer):
    answers = [
        each.call("outputs", "return_inputs", {"asked": "x"}, run_upstream_blocks=True) for each in (server, shipped)
    ]
    assert answers[0].text == answers[1].text
    assert "error" not in answers[1].json()
