"""Remove what is older than its retention, at start and every hour: runs with their files; large logs.

The settings of Mage's own `metadata.yaml` name periods that nothing in its server carries out. The files follow the
database: a folder of a run is removed once the run is.
"""

import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mage_ai.data_preparation.models.constants import LOGS_SUBDIR
from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun
from mage_ai.settings.server import LOGS_DIR_PATH
from sqlalchemy import String, and_, cast, delete, func, inspect, or_, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from mage_server.repeated import repeat
from workflows.common.pipeline_runs import CALL_MARKER
from workflows.common.retention import Retention, remove_old, rotate
from workflows.common.settings import Settings

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 3600.0
POLL_SECONDS = 1.0
# Small, because SQLite locks the whole database and Mage's own writers have to wait.
DELETE_BATCH = 200
VARIABLES_SUBDIR = ".variables"
# Folder of a run: the time of its execution; of a call over /api/runs, also its id.
_FOLDER_NAME = re.compile(r"(\d{8}T\d{6})(_[0-9a-f]{32})?")
_RUN = PipelineRun.__table__.c
_STATUS = PipelineRun.PipelineRunStatus
_ENDED = (_STATUS.COMPLETED, _STATUS.FAILED, _STATUS.CANCELLED)
_IS_CALL = func.coalesce(cast(_RUN.metrics, String), "").like(f'%"{CALL_MARKER}"%')


class Housekeeping:
    """Removes what is old, in a thread of the server's process.

    Args:
        settings: Periods and sizes, and the state folder.
        engine: Connects to Mage's database.
        variables_dir: Folder where Mage stores outputs, and logs unless `LOGS_DIR_PATH` is set.
    """

    def __init__(self, settings: Settings, engine: Engine, variables_dir: Path):
        self._settings = settings
        self._engine = engine
        self._roots = ((Path(LOGS_DIR_PATH or variables_dir), LOGS_SUBDIR), (variables_dir, VARIABLES_SUBDIR))

    def start(self) -> None:
        """Start the thread."""
        repeat(self._clean_now, INTERVAL_SECONDS, "housekeeping")

    def clean(self, now: datetime) -> None:
        """Remove everything that is old at a time, UTC."""
        before_runs = now - timedelta(days=self._settings.run_retention_days)
        before_calls = now - timedelta(days=self._settings.run_api_retention_days)
        runs = delete_runs(self._engine, before_runs, before_calls)
        kept = _partitions(self._engine, max(before_runs, before_calls))
        folders = remove_old(self._folders(before_runs, before_calls, kept), Retention(keep=0))
        logs = [path for path in self._log_files() if rotate(path, self._settings.log_max_bytes)]
        if runs or folders or logs:
            logger.info("Removed %d old runs and %d folders; rotated %d logs", runs, len(folders), len(logs))

    def _clean_now(self) -> None:
        # Mage makes and changes the tables at its start.
        while not self._has_tables():
            time.sleep(POLL_SECONDS)
        self.clean(datetime.now(UTC))

    def _has_tables(self) -> bool:
        try:
            columns = {column["name"] for column in inspect(self._engine).get_columns(PipelineRun.__tablename__)}
        except SQLAlchemyError:
            return False
        return columns >= set(_RUN.keys())

    def _folders(self, before_runs: datetime, before_calls: datetime, kept: set[str]) -> Iterator[Path]:
        """Yield the folders of logs and outputs whose run is old and no longer in the database."""
        oldest_run, oldest_call = (f"{moment:%Y%m%dT%H%M%S}" for moment in (before_runs, before_calls))
        for root, kind in self._roots:
            for folder in root.glob(f"pipelines/*/{kind}/*/*"):
                match = _FOLDER_NAME.fullmatch(folder.name)
                if match is None or match[1] >= (oldest_call if match[2] else oldest_run):
                    continue
                if f"{folder.parent.name}/{folder.name}" not in kept:
                    yield folder

    def _log_files(self) -> Iterator[Path]:
        yield from self._settings.state_dir.glob("logs/*.log")
        yield from self._settings.state_dir.glob("*.log")


def delete_runs(engine: Engine, before_runs: datetime, before_calls: datetime) -> int:
    """Delete runs that ended before a time with their block runs, and return their number.

    Two runs of each trigger stay: the newest, by which Mage knows that a trigger has had its turn (without it, `@once`
    would run again), and the newest completed one, which a data product or a sensor may need.

    Args:
        engine: Connects to Mage's database.
        before_runs: Time for runs of pipelines, UTC.
        before_calls: Time for the records of calls over /api/runs, UTC.
    """
    newest_of_any_status = select(func.max(_RUN.id)).where(~_IS_CALL).group_by(_RUN.pipeline_schedule_id)
    newest_completed = newest_of_any_status.where(_RUN.status == _STATUS.COMPLETED)
    ended_at = func.coalesce(_RUN.completed_at, _RUN.updated_at, _RUN.created_at)
    is_old = or_(
        and_(_IS_CALL, ended_at < before_calls),
        and_(~_IS_CALL, ended_at < before_runs, _RUN.id.not_in(newest_of_any_status), _RUN.id.not_in(newest_completed)),
    )
    old = select(_RUN.id).where(_RUN.status.in_(_ENDED), is_old).limit(DELETE_BATCH)
    count = 0
    while True:
        with engine.begin() as connection:
            ids = [row.id for row in connection.execute(old)]
            connection.execute(delete(BlockRun.__table__).where(BlockRun.__table__.c.pipeline_run_id.in_(ids)))
            connection.execute(delete(PipelineRun.__table__).where(_RUN.id.in_(ids)))
        count += len(ids)
        if len(ids) < DELETE_BATCH:
            return count


def _partitions(engine: Engine, before: datetime) -> set[str]:
    """Return the folders of all runs that began before a time and are still in the database: `TRIGGER/TIME`."""
    query = select(_RUN.pipeline_schedule_id, _RUN.execution_date, _RUN.variables).where(_RUN.execution_date < before)
    with engine.connect() as connection:
        return {_partition(row) for row in connection.execute(query)}


def _partition(row: Any) -> str:
    own = (row.variables or {}).get("execution_partition") if isinstance(row.variables, dict) else None
    return str(own) if own else f"{row.pipeline_schedule_id}/{row.execution_date:%Y%m%dT%H%M%S}"
