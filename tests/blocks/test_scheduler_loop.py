"""Looks of the scheduler: how many statements they send, and what wakes it."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

ROWS = 60


@pytest.fixture
def loop(mage: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The loop's parts, set up for this process as for a scheduler."""
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun

    from mage_server import scheduler_loop

    # Both are put back at the end.
    monkeypatch.setattr(BlockRun, "refresh", BlockRun.refresh)
    monkeypatch.setattr(PipelineRun, "create_block_runs", PipelineRun.create_block_runs)
    scheduler_loop._read_block_runs_once_a_look()
    # Other tests leave runs that never end.
    statuses = PipelineRun.PipelineRunStatus
    for run in PipelineRun.query.filter(PipelineRun.status.in_([statuses.INITIAL, statuses.RUNNING])):
        run.update(status=statuses.CANCELLED)
    yield scheduler_loop
    db_connection.session().expire_on_commit = True


def statements(action: Callable[[], object]) -> int:
    from mage_ai.orchestration.db import engine
    from sqlalchemy import event

    sent = []
    count = lambda *_: sent.append(1)  # noqa: E731
    event.listen(engine, "before_cursor_execute", count)
    try:
        action()
    finally:
        event.remove(engine, "before_cursor_execute", count)
    return len(sent)


def test_a_look_reads_the_rows_of_a_run_once(loop, pipeline_run, monkeypatch):
    from mage_ai.orchestration import pipeline_scheduler_original
    from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun

    class Jobs:
        """Holds every job, so that none counts as lost."""

        def has_block_run_job(self, *_: Any, **__: Any) -> bool:
            return True

    monkeypatch.setattr(pipeline_scheduler_original, "get_job_manager", Jobs)
    run = pipeline_run("dynamic_blocks_workflow", "called_from_code", create_block_runs=False)
    run.update(status=PipelineRun.PipelineRunStatus.RUNNING)
    for number in range(ROWS):
        status = BlockRun.BlockRunStatus.RUNNING
        BlockRun.create(block_uuid=f"generate_fun_fact:{number}", pipeline_run_id=run.id, status=status)
    try:
        assert loop._has_new_run() is False
        assert statements(loop._schedule_running) < ROWS
    finally:
        run.update(status=PipelineRun.PipelineRunStatus.CANCELLED)


def test_the_blocks_of_a_new_run_are_known_at_once(loop, pipeline_run):
    from mage_ai.orchestration.db.models.schedules import PipelineRun

    run = pipeline_run("ingestion", "every_15_minutes", create_block_runs=False)
    try:
        assert loop._has_new_run() is True
        assert list(run.block_runs) == []
        run.create_block_runs()
        assert {block_run.block_uuid for block_run in run.block_runs} > {"load_companies"}
    finally:
        run.update(status=PipelineRun.PipelineRunStatus.CANCELLED)


def test_a_run_that_another_process_makes_wakes_the_scheduler(mage, pipeline_run, monkeypatch):
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import PipelineRun
    from mage_ai.orchestration.triggers.loop_time_trigger import LoopTimeTrigger

    from mage_server import scheduler_loop, wakeups

    monkeypatch.setattr(LoopTimeTrigger, "start", LoopTimeTrigger.start)
    scheduler_loop.install()

    def make_run() -> None:
        db_connection.start_session(force=True)
        pipeline_run("ingestion", "every_15_minutes", create_block_runs=False)

    wakeups.wake()
    wakeups.wait(1)
    process = multiprocessing.get_context("fork").Process(target=make_run)
    process.start()
    started = time.monotonic()
    wakeups.wait(60)
    assert time.monotonic() - started < 50
    process.join()
    for run in PipelineRun.query.filter(PipelineRun.status == PipelineRun.PipelineRunStatus.INITIAL):
        run.update(status=PipelineRun.PipelineRunStatus.CANCELLED)


def test_the_projects_settings_are_read_again_when_the_file_changes(mage, tmp_path, monkeypatch):
    from mage_ai.data_preparation.repo_manager import RepoConfig, get_repo_config

    from mage_server import project_settings

    monkeypatch.setattr(RepoConfig, "__init__", RepoConfig.__init__)
    monkeypatch.setattr(project_settings, "KEEP_SECONDS", 3600.0)
    project_settings.install()
    path = tmp_path / "metadata.yaml"
    path.write_text("notification_config: {alert_on: [trigger_failure]}\n")
    first = get_repo_config(str(tmp_path))
    first.notification_config["alert_on"].append("mine")
    assert get_repo_config(str(tmp_path)).notification_config == {"alert_on": ["trigger_failure"]}
    path.write_text("notification_config: {alert_on: [trigger_success]}\nretry_config: {retries: 2}\n")
    assert get_repo_config(str(tmp_path)).notification_config == {"alert_on": ["trigger_success"]}
    assert get_repo_config(str(tmp_path)).retry_config == {"retries": 2}


class Killed(Exception):
    """Ends the process that makes block runs."""


def make_until_killed(make: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make block runs, and be killed before the fourth."""
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import BlockRun

    original, made = BlockRun.create, []

    def create(**values: Any) -> Any:
        if len(made) == 3:
            raise Killed
        made.append(values["block_uuid"])
        return original(**values)

    with monkeypatch.context() as patch:
        patch.setattr(BlockRun, "create", create)
        with pytest.raises(Killed):
            make()
    db_connection.session.expire_all()
    assert len(made) == 3


def test_a_run_has_all_its_blocks_or_none(mage, pipeline_run, monkeypatch):
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import PipelineRun

    from mage_server.scheduler_loop import _all_or_none

    run = pipeline_run("sql_python_workflow", "run_now", create_block_runs=False)
    monkeypatch.setattr(PipelineRun, "create_block_runs", _all_or_none(PipelineRun.create_block_runs))
    make_until_killed(run.create_block_runs, monkeypatch)
    assert run.block_runs == []
    run.create_block_runs()
    db_connection.session.expire_all()
    assert len(run.block_runs) > 3
    run.update(status=PipelineRun.PipelineRunStatus.CANCELLED)


def test_a_dynamic_block_has_all_its_children_or_none(mage, pipeline_run, monkeypatch):
    from mage_ai.data_preparation.models.block.dynamic import child
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun

    from mage_server.scheduler_loop import _all_or_none

    items = list(range(7))
    monkeypatch.setattr(child, "get_outputs_for_dynamic_block", lambda *_, **__: (items, []))
    combinations = [{"dynamic_block_index": index} for index in items]
    monkeypatch.setattr(child, "build_combinations_for_dynamic_child", lambda *_, **__: combinations)
    run = pipeline_run("dynamic_blocks_workflow", "called_from_code", create_block_runs=False)
    parent = BlockRun.create(block_uuid="generate_fun_fact", pipeline_run_id=run.id)
    controller = child.DynamicChildController(run.pipeline.get_block("generate_fun_fact"), block_run_id=parent.id)
    make = _all_or_none(child.DynamicChildController.execute_sync, child.DynamicChildController.pipeline_run)
    make_until_killed(lambda: make(controller), monkeypatch)
    assert [block.block_uuid for block in run.block_runs] == ["generate_fun_fact"]
    for _ in range(2):
        make(controller)
        db_connection.session.expire_all()
        assert len(run.block_runs) == 1 + len(items)
    run.update(status=PipelineRun.PipelineRunStatus.CANCELLED)
