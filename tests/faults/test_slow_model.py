"""A model that does not answer: the pipelines that need none keep their schedule."""

import threading

import pytest

from stack.console import Console
from stack.demo import follow
from stack.mage_client import wait_until
from tests.provider import Provider, answer

pytestmark = pytest.mark.timeout(900)
# Twenty workers would all wait for the model.
CHILDREN = 30


def test_children_that_wait_for_the_model_leave_workers_to_others(up):
    may_answer = threading.Event()

    def slow(request: dict) -> tuple:
        if "Say hello." not in request["messages"][-1]["content"]:
            may_answer.wait(600)
        return answer("{}")

    provider = Provider(slow)
    try:
        command = up(
            OPENAI_BASE_URL=provider.url, LLM_MODEL="slow", LLM_TIMEOUT_SECONDS="900", LLM_BUDGET_SECONDS="900"
        )
        stack = command.start()
        wait_until(lambda: [run for run in stack.database.runs("ingestion") if run.has_ended], 120)
        waiting = [
            stack.start_run("dynamic_blocks_workflow", "called_from_code", {"count": CHILDREN * 1000}) for _ in range(3)
        ]

        def children_that_wait() -> int:
            runs = stack.database.runs("dynamic_blocks_workflow")
            return sum(block.status == "running" for run in runs for block in run.blocks)

        wait_until(lambda: children_that_wait() >= 16, 120)
        for pipeline, trigger in (("ingestion", "run_now"), ("spark_workflow", "called_from_code")):
            runs = follow(stack.database, stack.start_run(pipeline, trigger), Console())
            assert {run.status for run in runs} == {"completed"}
        assert not any(run.has_ended for run in stack.database.runs("dynamic_blocks_workflow"))
        may_answer.set()
        for run in waiting:
            assert {one.status for one in follow(stack.database, run, Console())} == {"completed"}
    finally:
        may_answer.set()
        provider.stop()
