"""The clock is moved, or the machine was off: one run of each schedule, no burst of those that were missed."""

import sqlite3

import pytest

from benchmarks.servers import instant_model
from stack.demo import GRAPH
from stack.mage_client import wait_until
from tests.faults.chain import SETTLE_SECONDS, has_settled, now, runs_since

pytestmark = pytest.mark.timeout(1200)
# The runs of the schedules, as if they had been made that much earlier or later.
MOVE = """
UPDATE pipeline_run SET execution_date = datetime(execution_date, :by), completed_at = datetime(completed_at, :by)
WHERE pipeline_schedule_id IN
    (SELECT id FROM pipeline_schedule WHERE schedule_interval IS NOT NULL AND global_data_product_uuid IS NULL)
"""


@pytest.mark.parametrize("hours", [6, -6])
def test_a_stack_that_wakes_up_at_another_time_makes_one_run_of_each_schedule(up, hours):
    with instant_model() as model:
        command = up(**model)
        moment = now()
        stack = command.start()
        wait_until(lambda: stack.database.runs("sql_python_workflow") and has_settled(stack, moment), SETTLE_SECONDS)
        command.stop()
        with sqlite3.connect(stack.settings.state_dir / "mage" / "mage-ai.db") as database:
            database.execute(MOVE, {"by": f"{-hours} hours"})
        moment = now()
        stack = command.start()
        wait_until(lambda: runs_since(stack, moment) and has_settled(stack, moment), SETTLE_SECONDS)
        command.stop()
    runs = runs_since(stack, moment)
    for pipeline in GRAPH.scheduled:
        scheduled = [run for run in runs if run.pipeline == pipeline and run.is_scheduled]
        # Two where a quarter of an hour begins meanwhile.
        assert 1 <= len(scheduled) <= 2, f"{pipeline}: {len(scheduled)} runs"
    assert {run.status for run in runs} == {"completed"}
