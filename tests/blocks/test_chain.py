"""Starting the next pipeline, from real blocks and against Mage's real tables."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from workflows.common.errors import InvalidInputError, WorkflowError
from workflows.common.mage import Source, recent_runs, refresh_data_product, trigger_once

JOINED = pd.DataFrame({"passenger_id": range(50), "company_count": [50] * 50})


def runs_of(pipeline: str) -> list:
    from mage_ai.orchestration.db.models.schedules import PipelineRun

    return PipelineRun.query.filter(PipelineRun.pipeline_uuid == pipeline).order_by(PipelineRun.id).all()


def kwargs_of(run) -> dict:
    return {"pipeline_run_id": run.id, "trigger_name": run.pipeline_schedule.name}


@pytest.fixture
def source(pipeline_run):
    return pipeline_run("sql_python_workflow", "run_now", execution_date=datetime.now(UTC))


def test_a_block_executed_twice_starts_the_next_pipeline_once(run_block, source):
    before = len(runs_of("dynamic_blocks_workflow"))
    block = ("sql_python_workflow", "trigger_dynamic_blocks_workflow", JOINED)
    first = run_block(*block, **kwargs_of(source))
    second = run_block(*block, **kwargs_of(source))
    started = runs_of("dynamic_blocks_workflow")[before:]
    assert [run.id for run in started] == [first["pipeline_run_id"]] == [second["pipeline_run_id"]]
    assert started[0].variables["count"] == 2500
    assert started[0].variables["triggered_by_run_id"] == source.id
    assert started[0].pipeline_schedule.name == "called_from_code"


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_a_child_that_failed_is_started_again(run_block, source, status):
    from mage_ai.orchestration.db.models.schedules import PipelineRun

    block = ("sql_python_workflow", "trigger_dynamic_blocks_workflow", JOINED)
    first = run_block(*block, **kwargs_of(source))
    PipelineRun.query.get(first["pipeline_run_id"]).update(status=PipelineRun.PipelineRunStatus[status])
    assert run_block(*block, **kwargs_of(source))["pipeline_run_id"] > first["pipeline_run_id"]


@pytest.mark.parametrize("status", ["INITIAL", "RUNNING", "COMPLETED"])
def test_a_child_that_completed_or_is_under_way_stays_the_only_one(run_block, source, status):
    from mage_ai.orchestration.db.models.schedules import PipelineRun

    block = ("sql_python_workflow", "trigger_dynamic_blocks_workflow", JOINED)
    first = run_block(*block, **kwargs_of(source))
    PipelineRun.query.get(first["pipeline_run_id"]).update(status=PipelineRun.PipelineRunStatus[status])
    assert run_block(*block, **kwargs_of(source))["pipeline_run_id"] == first["pipeline_run_id"]


def test_an_inactive_trigger_starts_nothing_and_the_output_says_so(run_block, source):
    from mage_ai.data_preparation.models.triggers import ScheduleStatus
    from mage_ai.orchestration.db.models.schedules import PipelineSchedule

    trigger = PipelineSchedule.query.filter(
        PipelineSchedule.pipeline_uuid == "dynamic_blocks_workflow", PipelineSchedule.name == "called_from_code"
    ).one()
    before = len(runs_of("dynamic_blocks_workflow"))
    trigger.update(status=ScheduleStatus.INACTIVE)
    try:
        output = run_block("sql_python_workflow", "trigger_dynamic_blocks_workflow", JOINED, **kwargs_of(source))
    finally:
        trigger.update(status=ScheduleStatus.ACTIVE)
    assert output["skipped"] == "its trigger called_from_code is inactive"
    assert output["pipeline_run_id"] is None
    assert len(runs_of("dynamic_blocks_workflow")) == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"sex": "male"}, {"sex": "male"}), ({"Sex": "male"}, {"Sex": "male"}), ({}, None), ({"refresh": True}, None)],
)
def test_a_passenger_is_never_blended_with_the_example(pipeline_run, given, expected):
    from workflows.common.mage import given_variables
    from workflows.ml_training_and_inference.inference import passenger_of_run

    run = pipeline_run(
        "ml_training_and_inference", "called_from_code", execution_date=datetime.now(UTC), variables=given
    )
    kwargs = {**kwargs_of(run), "sex": "female", "age": "21", **given}
    assert passenger_of_run(given_variables(kwargs), kwargs) == (kwargs if expected is None else expected)


def test_two_runs_start_it_twice(run_block, pipeline_run):
    before = len(runs_of("ml_training_and_inference"))
    for minute in (0, 1):
        run = pipeline_run("sql_python_workflow", "run_now", execution_date=datetime(2024, 1, 1, 0, minute, tzinfo=UTC))
        run_block("sql_python_workflow", "trigger_ml_training_and_inference", JOINED, **kwargs_of(run))
    assert len(runs_of("ml_training_and_inference")) == before + 2


def test_a_refresh_of_the_data_product_starts_nothing(run_block):
    before = len(runs_of("dynamic_blocks_workflow"))
    kwargs = {"pipeline_run_id": 1, "trigger_name": "GLOBAL_DATA_PRODUCT_TRIGGER"}
    output = run_block("sql_python_workflow", "trigger_dynamic_blocks_workflow", JOINED, **kwargs)
    assert output["skipped"] == "this run refreshes the global data product"
    assert len(runs_of("dynamic_blocks_workflow")) == before


def test_a_block_run_by_hand_starts_nothing(run_block):
    output = run_block("sql_python_workflow", "trigger_ml_training_and_inference", JOINED)
    assert output["skipped"] == "not inside a pipeline run"


def test_no_facts_are_handed_on_as_an_empty_list(run_block, pipeline_run):
    run = pipeline_run("dynamic_blocks_workflow", "called_from_code", execution_date=datetime.now(UTC))
    run_block("dynamic_blocks_workflow", "trigger_spark_workflow_for_empty_plan", {"items": 0}, **kwargs_of(run))
    assert runs_of("spark_workflow")[-1].variables["fun_facts"] == []


def test_the_fan_out_names_every_child(run_block):
    plan = run_block("dynamic_blocks_workflow", "plan_items", count=12_345, max_children=100)
    assert plan == {"items": 12, "left_out": 0}
    items, names = run_block("dynamic_blocks_workflow", "create_items", plan)
    assert [item["number"] for item in items] == list(range(1, 13))
    assert len({name["block_uuid"] for name in names}) == 12
    with pytest.raises(InvalidInputError, match="count: missing"):
        run_block("dynamic_blocks_workflow", "plan_items", max_children=100)


def test_a_single_block_call_is_no_completed_ingestion(pipeline_run):
    """`/api/runs` records a completed run of the pipeline for one block of it."""
    from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun

    done = {"status": PipelineRun.PipelineRunStatus.COMPLETED, "completed_at": datetime.now(UTC)}
    run = pipeline_run("ingestion", "run_now", execution_date=datetime.now(UTC), create_block_runs=False, **done)
    BlockRun.create(pipeline_run_id=run.id, block_uuid="load_companies", status=BlockRun.BlockRunStatus.COMPLETED)
    assert not next(item for item in recent_runs("ingestion", "export_companies") if item.id == run.id).is_completed
    BlockRun.create(pipeline_run_id=run.id, block_uuid="export_companies", status=BlockRun.BlockRunStatus.COMPLETED)
    found = next(item for item in recent_runs("ingestion", "export_companies") if item.id == run.id)
    assert found.is_completed
    assert found.completed_at is not None
    assert datetime.now(UTC) - found.completed_at < timedelta(minutes=5)


class TestDataProduct:
    @pytest.fixture(autouse=True)
    def without_refreshes(self, mage):
        """Each test starts with a data product that was never computed."""
        from mage_ai.orchestration.db import db_connection

        for run in self.refreshes():
            db_connection.session.delete(run)
        db_connection.session.commit()

    @staticmethod
    def refreshes() -> list:
        runs = runs_of("sql_python_workflow")
        return [run for run in runs if run.pipeline_schedule.name == "GLOBAL_DATA_PRODUCT_TRIGGER"]

    def end_next_refresh(self, status: str, timeout_seconds: float = 20) -> None:
        """Do what the scheduler would: end the refresh as soon as one is there."""
        from mage_ai.orchestration.db import db_connection
        from mage_ai.orchestration.db.models.schedules import PipelineRun

        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            db_connection.session.expire_all()
            if waiting := [run for run in self.refreshes() if run.status == PipelineRun.PipelineRunStatus.INITIAL]:
                waiting[0].update(status=PipelineRun.PipelineRunStatus(status), completed_at=datetime.now(UTC))
                return
            time.sleep(0.05)

    def test_two_consumers_start_one_refresh(self):
        scheduler = threading.Thread(target=self.end_next_refresh, args=("completed",))
        results: list[int] = []
        consumers = [
            threading.Thread(target=lambda: results.append(refresh_data_product("core_users", 30, "a")))
            for _ in range(2)
        ]
        for thread in (scheduler, *consumers):
            thread.start()
        for thread in (scheduler, *consumers):
            thread.join()
        assert len(self.refreshes()) == 1
        assert results == [self.refreshes()[0].id] * 2

    def test_a_fresh_one_is_not_refreshed_again_and_a_stale_one_is(self):
        first = self.refresh("a")
        assert refresh_data_product("core_users", 30, "a") == first
        self.refreshes()[0].update(execution_date=datetime.now(UTC) - timedelta(seconds=86_401))
        assert self.refresh("a") != first

    @pytest.mark.parametrize("again", [("b", False), ("a", True)], ids=["input changed", "asked for"])
    def test_a_fresh_one_is_refreshed_where_there_is_a_reason(self, again):
        first, second = self.refresh("a"), self.refresh(*again)
        assert second != first
        assert refresh_data_product("core_users", 30, again[0]) == second

    def refresh(self, *arguments):
        """Refresh the data product, and end the refresh."""
        scheduler = threading.Thread(target=self.end_next_refresh, args=("completed",))
        scheduler.start()
        try:
            return refresh_data_product("core_users", 30, *arguments)
        finally:
            scheduler.join()

    def test_a_refresh_that_fails_is_said(self):
        scheduler = threading.Thread(target=self.end_next_refresh, args=("failed",))
        scheduler.start()
        with pytest.raises(WorkflowError, match="refresh of the data product core_users failed"):
            refresh_data_product("core_users", 30, "a")
        scheduler.join()

    def test_one_that_nobody_runs_is_given_up_and_one_under_way_is_waited_for(self, caplog):
        """A consumer may be stopped and executed again while its refresh runs."""
        caplog.set_level("INFO")
        with pytest.raises(WorkflowError, match="time out"):
            refresh_data_product("core_users", 1, "a")
        (under_way,) = self.refreshes()

        def end_it_once_it_is_waited_for() -> None:
            deadline = time.monotonic() + 20
            while caplog.text.count("Waiting for run") < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            self.end_next_refresh("completed")

        scheduler = threading.Thread(target=end_it_once_it_is_waited_for)
        scheduler.start()
        assert refresh_data_product("core_users", 30, "a") == under_way.id
        scheduler.join()
        assert len(self.refreshes()) == 1

    def test_an_unknown_one_is_said(self):
        with pytest.raises(WorkflowError, match=r"is not in global_data_products\.yaml"):
            refresh_data_product("no_such_users", 1, "a")


def test_a_started_run_leaves_its_block_runs_to_the_scheduler(run_block, source):
    """Made here too, they could be made twice: every block would run twice."""
    run_block("sql_python_workflow", "trigger_dynamic_blocks_workflow", JOINED, **kwargs_of(source))
    assert runs_of("dynamic_blocks_workflow")[-1].block_runs == []


def test_a_pipeline_without_the_trigger_is_said(source):
    with pytest.raises(WorkflowError, match="spark_workflow has no trigger no_such_trigger"):
        trigger_once("spark_workflow", "no_such_trigger", Source(source.id, False), {})
