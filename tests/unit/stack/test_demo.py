from datetime import UTC, datetime

import pytest

from stack.demo import CALLS, is_one_missing
from stack.mage_client import children
from stack.mage_database import BlockRun, PipelineRun

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def run(run_id: int, pipeline: str, status: str = "completed", parent: int | None = None, trigger: str = "run_now"):
    return PipelineRun(
        run_id, pipeline, trigger, False, status, NOW, NOW, parent, {}, (BlockRun("block", "completed"),)
    )


WHOLE = [
    run(1, "sql_python_workflow"),
    run(2, "dynamic_blocks_workflow", parent=1),
    run(3, "ml_training_and_inference", parent=1),
    run(4, "llm_inference", parent=3),
    run(5, "spark_workflow", parent=2),
]


def test_the_chain_is_whole_when_every_run_has_started_what_it_starts():
    assert not is_one_missing(WHOLE)


@pytest.mark.parametrize("left_out", [1, 2, 3, 4])
def test_a_child_that_has_not_appeared_yet_is_waited_for(left_out):
    assert is_one_missing([item for item in WHOLE if item is not WHOLE[left_out]])


def test_a_failed_run_starts_nothing_to_wait_for():
    assert not is_one_missing([run(1, "sql_python_workflow", status="failed")])


def test_a_refresh_starts_nothing_to_wait_for():
    assert not is_one_missing([run(1, "sql_python_workflow", trigger="GLOBAL_DATA_PRODUCT_TRIGGER")])


def test_children_are_those_that_name_the_run():
    assert [child.id for child in children(WHOLE, WHOLE[0])] == [2, 3]


def test_the_calls_are_the_documented_ones():
    assert [(call.pipeline, call.block) for call in CALLS] == [
        ("ml_training_and_inference", "online_inference"),
        ("llm_inference", "will_i_survive"),
    ]
    assert all(isinstance(value, str) for value in CALLS[0].example.values())
