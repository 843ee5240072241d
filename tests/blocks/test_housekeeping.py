"""What is removed after its retention, and what never is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workflows.common.pipeline_runs import CALL_MARKER
from workflows.common.retention import rotate
from workflows.common.settings import Settings

NOW = datetime(2030, 6, 1, tzinfo=UTC)
CALL = "0123456789abcdef" * 2


@pytest.fixture
def housekeeping(mage, tmp_path):
    from mage_server.housekeeping import Housekeeping
    from mage_server.run_api.database import make_engine

    return Housekeeping(Settings(state_dir=tmp_path / "state"), make_engine(), tmp_path / "variables")


@pytest.fixture
def make(pipeline_run, tmp_path):
    """Return a function that makes a run of an age in days, with a folder of logs and one of outputs."""

    def run(days: float, status: str = "COMPLETED", trigger: str = "run_now", call: bool = False) -> tuple:
        from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun

        moment = NOW - timedelta(days=days)
        made = pipeline_run(
            "ingestion",
            trigger,
            execution_date=moment,
            create_block_runs=False,
            status=PipelineRun.PipelineRunStatus[status],
            completed_at=moment if status in ("COMPLETED", "FAILED") else None,
            metrics={CALL_MARKER: CALL} if call else None,
        )
        BlockRun.create(pipeline_run_id=made.id, block_uuid="load_companies")
        name = f"{moment:%Y%m%dT%H%M%S}" + (f"_{CALL}" if call else "")
        if call:
            made.update(variables={"execution_partition": f"{made.pipeline_schedule_id}/{name}"})
        folders = []
        for kind in (".logs", ".variables"):
            folder = tmp_path / "variables" / "pipelines" / "ingestion" / kind / str(made.pipeline_schedule_id) / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "load_companies.log").write_text("x")
            folders.append(folder)
        return made.id, folders

    return run


def exists(run: tuple[int, list[Path]]) -> bool:
    """Whether a run is there whole; fails if it is there in part."""
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun

    db_connection.session.expire_all()
    run_id, folders = run
    there = {
        PipelineRun.query.filter(PipelineRun.id == run_id).count() == 1,
        BlockRun.query.filter(BlockRun.pipeline_run_id == run_id).count() == 1,
        *(folder.exists() for folder in folders),
    }
    assert len(there) == 1
    return there.pop()


def test_old_runs_are_removed_with_their_files_and_fresh_ones_stay(housekeeping, make):
    old, failed, fresh, newest = make(40), make(35, "FAILED"), make(29), make(1)
    housekeeping.clean(NOW)
    assert [exists(run) for run in (old, failed, fresh, newest)] == [False, False, True, True]


def test_the_newest_completed_run_of_a_trigger_stays_whatever_its_age(housekeeping, make):
    """A data product or a sensor may need it."""
    other_trigger = make(60, trigger="every_15_minutes")
    older, newest = make(50, trigger="every_15_minutes"), make(45)
    failed_since = make(40, "FAILED"), make(35, "CANCELLED")
    housekeeping.clean(NOW)
    kept = [exists(run) for run in (other_trigger, older, newest, *failed_since)]
    assert kept == [False, True, True, False, True]


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_the_newest_run_of_a_trigger_stays_also_where_none_has_completed(housekeeping, make, status):
    """Mage would start `@once` again, and `@monthly` before its month is over."""
    older, newest = make(50, status), make(40, status)
    housekeeping.clean(NOW)
    assert [exists(run) for run in (older, newest)] == [False, True]


def test_however_long_it_runs_thirty_days_are_left(housekeeping, make, tmp_path):
    """Forty-five days of a schedule, with a round of housekeeping a day."""
    for day in range(45):
        for hour in range(0, 24, 8):
            make(-day - hour / 24)
        housekeeping.clean(NOW + timedelta(days=day + 1))
    folders = list((tmp_path / "variables").glob("pipelines/*/*/*/*"))
    assert len(folders) == 2 * 30 * 3


@pytest.mark.parametrize("status", ["INITIAL", "RUNNING"])
def test_a_run_that_has_not_ended_stays(housekeeping, make, status):
    waiting, _newest = make(50, status), make(1)
    housekeeping.clean(NOW)
    assert exists(waiting)


def test_calls_have_a_retention_of_their_own(housekeeping, make, monkeypatch):
    settings = housekeeping._settings.model_copy(update={"run_api_retention_days": 5})
    monkeypatch.setattr(housekeeping, "_settings", settings)
    old_call, fresh_call, run, _newest = make(6, call=True), make(4, call=True), make(10), make(1)
    housekeeping.clean(NOW)
    assert [exists(one) for one in (old_call, fresh_call, run)] == [False, True, True]


def test_folders_without_a_run_are_removed_and_other_folders_never(housekeeping, make, tmp_path):
    _, (logs, _) = make(1)
    orphan = logs.parent / "20200101T000000"
    orphan.mkdir()
    other = logs.parent / "load_companies"
    other.mkdir()
    housekeeping.clean(NOW)
    assert (orphan.exists(), other.exists()) == (False, True)


def test_a_large_log_is_rotated_while_it_is_written(tmp_path):
    path = tmp_path / "mage.log"
    with path.open("ab") as log:
        log.write(b"x" * 2000)
        log.flush()
        assert rotate(path, 1000)
        log.write(b"next")
        log.flush()
    assert path.read_bytes() == b"next"
    assert (tmp_path / "mage.log.1").stat().st_size == 2000
    assert not rotate(path, 1000)
