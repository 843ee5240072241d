"""All that the workflows ask of Mage: runs, triggers, the data product, connections.

No other module of this package imports Mage.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from mage_ai.data_preparation.models.global_data_product import GlobalDataProduct
from mage_ai.data_preparation.models.pipeline import Pipeline
from mage_ai.data_preparation.models.triggers import ScheduleStatus
from mage_ai.io.config import ConfigFileLoader, ConfigKey
from mage_ai.orchestration.db import db_connection
from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun, PipelineSchedule
from mage_ai.orchestration.triggers.constants import TRIGGER_NAME_FOR_GLOBAL_DATA_PRODUCT
from mage_ai.orchestration.triggers.global_data_product import fetch_or_create_pipeline_schedule
from mage_ai.orchestration.triggers.utils import check_pipeline_run_status, create_and_start_pipeline_run
from mage_ai.settings.repo import get_repo_path
from sqlalchemy import String, cast, func

from workflows.common import pipeline_runs
from workflows.common.errors import WorkflowError
from workflows.common.pipeline_runs import CALL_MARKER
from workflows.common.settings import get_settings

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
# Variable of a refresh: the fingerprint of what the data product is made of.
MADE_OF = "made_of"
# The records of single blocks called over /api/runs are no runs of the pipeline, and there may be many.
_IS_NO_CALL = func.coalesce(cast(PipelineRun.metrics, String), "").not_like(f'%"{CALL_MARKER}"%')
IN_FLIGHT = (PipelineRun.PipelineRunStatus.INITIAL, PipelineRun.PipelineRunStatus.RUNNING)


@dataclass(frozen=True)
class Source:
    """The run that a block belongs to, as its keyword arguments tell."""

    pipeline_run_id: int
    is_data_product_refresh: bool

    @classmethod
    def from_kwargs(cls, kwargs: Mapping[str, Any]) -> "Source | None":
        """Return the run, or None where there is none: a block run by hand in the editor."""
        run_id = kwargs.get("pipeline_run_id")
        if run_id is None:
            return None
        refresh = kwargs.get("trigger_name") == TRIGGER_NAME_FOR_GLOBAL_DATA_PRODUCT
        return cls(pipeline_run_id=int(run_id), is_data_product_refresh=refresh)


def given_variables(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the variables that a run was started with, without those of its pipeline.

    Args:
        kwargs: Keyword arguments of the block; outside of a run, as over /api/runs, they are what was given.
    """
    source = Source.from_kwargs(kwargs)
    if source is None:
        return kwargs
    _ensure_session()
    run = PipelineRun.query.get(source.pipeline_run_id)
    parts = (run.pipeline_schedule.variables, run.variables, run.event_variables) if run is not None else ()
    return {name: value for part in parts for name, value in (part or {}).items()}


def duckdb_database(profile: str = "default") -> str:
    """Return `DUCKDB_DATABASE` of a profile in io_config.yaml, as Mage's own SQL blocks read it."""
    config = ConfigFileLoader(Path(get_repo_path()) / "io_config.yaml", profile)
    return str(config[ConfigKey.DUCKDB_DATABASE])


def recent_runs(pipeline_uuid: str, final_block_uuid: str, limit: int = 50) -> list[pipeline_runs.PipelineRun]:
    """Return the newest runs of a pipeline, newest first.

    Args:
        pipeline_uuid: Pipeline whose runs are listed, of every trigger.
        final_block_uuid: A run counts as completed only if this block completed in it: a single block
            called over `/api/runs` is recorded as a completed run of its pipeline too.
        limit: How many at the most.
    """
    _ensure_session()
    rows = (
        PipelineRun.query.filter(PipelineRun.pipeline_uuid == pipeline_uuid, _IS_NO_CALL)
        .order_by(PipelineRun.id.desc())
        .limit(limit)
        .all()
    )
    finished = {
        block_run.pipeline_run_id
        for block_run in BlockRun.query.filter(
            BlockRun.pipeline_run_id.in_([row.id for row in rows]),
            BlockRun.block_uuid == final_block_uuid,
            BlockRun.status == BlockRun.BlockRunStatus.COMPLETED,
        ).all()
    }
    return [
        pipeline_runs.PipelineRun(
            id=row.id,
            is_completed=row.status == PipelineRun.PipelineRunStatus.COMPLETED and row.id in finished,
            is_in_flight=row.status in IN_FLIGHT,
            completed_at=_as_utc(row.completed_at),
        )
        for row in rows
    ]


def trigger_once(pipeline_uuid: str, trigger_name: str, source: Source, variables: Mapping[str, Any]) -> int | None:
    """Start a run of another pipeline, once per run of this one, however often the block executes.

    Args:
        pipeline_uuid: Pipeline to start.
        trigger_name: Its API trigger, named in its triggers.yaml.
        source: The run that asks; its id is kept in the variable `triggered_by_run_id`.
        variables: Runtime variables, JSON.

    Returns:
        Id of the run: the new one, or the one that this source has started before and that has not failed or been
        cancelled; None where the trigger is inactive.

    Raises:
        WorkflowError: the pipeline has no such trigger.
    """
    _ensure_session()
    with _lock(f"trigger-{pipeline_uuid}"):
        earlier = PipelineRun.query.filter(
            PipelineRun.pipeline_uuid == pipeline_uuid,
            PipelineRun.id > source.pipeline_run_id,
            PipelineRun.status.in_((*IN_FLIGHT, PipelineRun.PipelineRunStatus.COMPLETED)),
            _IS_NO_CALL,
        ).all()
        for run in earlier:
            if (run.variables or {}).get("triggered_by_run_id") == source.pipeline_run_id:
                logger.info("Run %s of %s was started before by this run", run.id, pipeline_uuid)
                return int(run.id)
        schedule = PipelineSchedule.query.filter(
            PipelineSchedule.pipeline_uuid == pipeline_uuid, PipelineSchedule.name == trigger_name
        ).first()
        if schedule is None:
            raise WorkflowError(f"Pipeline {pipeline_uuid} has no trigger {trigger_name}; see its triggers.yaml")
        if schedule.status != ScheduleStatus.ACTIVE:
            return None
        pipeline = Pipeline.get(pipeline_uuid, repo_path=get_repo_path())
        run = _start_run(pipeline, schedule, {**variables, "triggered_by_run_id": source.pipeline_run_id})
        logger.info("Started run %s of %s", run.id, pipeline_uuid)
        return int(run.id)


def refresh_data_product(uuid: str, timeout_seconds: float, made_of: str, is_forced: bool = False) -> int:
    """Make sure that a global data product is fresh, and return the id of the run that holds its data.

    Mage's own block starts a refresh whenever it finds none under way, without a lock, so two consumers
    start two. Here the consumers take turns: the first refreshes, the others find it fresh.

    Args:
        uuid: Name in global_data_products.yaml.
        timeout_seconds: How long to wait for another consumer's refresh or this one's.
        made_of: Fingerprint of what the data product is made of; with another one it is stale, whatever its age.
        is_forced: Whether to refresh it although it is fresh.

    Raises:
        WorkflowError: no such data product, the refresh failed or took too long.
    """
    _ensure_session()
    product = GlobalDataProduct.get(uuid, get_repo_path())
    if product is None:
        raise WorkflowError(f"Global data product {uuid} is not in global_data_products.yaml")
    try:
        with _lock(f"data-product-{uuid}", timeout_seconds):
            return _refresh(product, timeout_seconds, made_of, is_forced)
    except Timeout as error:
        raise WorkflowError(
            f"Another refresh of the data product {uuid} has not ended after {timeout_seconds:.0f} s; "
            f"look at the runs of {product.object_uuid}"
        ) from error


def freshness(uuid: str, run_id: int) -> dict[str, str | bool]:
    """Return when a run computed a global data product, until when it is fresh, and whether it is now; times in UTC."""
    _ensure_session()
    product, run = GlobalDataProduct.get(uuid, get_repo_path()), PipelineRun.query.get(run_id)
    times = {"computed_at": run.completed_at, "fresh_until": product.next_run_at(run)}
    return {name: f"{time:%Y-%m-%d %H:%M} UTC" for name, time in times.items()} | {
        "is_fresh": not all(product.is_outdated(run))
    }


def _refresh(product: GlobalDataProduct, timeout_seconds: float, made_of: str, is_forced: bool) -> int:
    runs = product.pipeline_runs()
    completed = [run for run in runs if run.status == PipelineRun.PipelineRunStatus.COMPLETED]
    if completed:
        newest = max(completed, key=lambda run: run.execution_date)
        is_changed = (newest.variables or {}).get(MADE_OF) != made_of
        if not (all(product.is_outdated(newest)) or is_changed or is_forced):
            logger.info("Data product %s is fresh: run %s", product.uuid, newest.id)
            return int(newest.id)
        reason = "a refresh is asked for" if is_forced else "its input has changed" if is_changed else "it is too old"
        logger.info("Data product %s is computed again: %s", product.uuid, reason)
    # A refresh that a consumer started before it was stopped is waited for, not started again.
    in_flight = [run for run in runs if run.status in IN_FLIGHT and (run.variables or {}).get(MADE_OF) == made_of]
    # Mage lists copies of the runs, which its session does not know.
    run = PipelineRun.query.get(in_flight[0].id) if in_flight else _start_refresh(product, made_of)
    logger.info("Waiting for run %s of %s", run.id, product.object_uuid)
    try:
        run = check_pipeline_run_status(
            run,
            error_on_failure=True,
            poll_interval=POLL_SECONDS,
            poll_timeout=timeout_seconds,
            verbose=False,
        )
    except Exception as error:
        raise WorkflowError(f"The refresh of the data product {product.uuid} failed: {error}") from error
    if run.status != PipelineRun.PipelineRunStatus.COMPLETED:
        raise WorkflowError(
            f"The refresh of the data product {product.uuid}, run {run.id} of {product.object_uuid}, "
            f"ended as {run.status}"
        )
    return int(run.id)


def _start_refresh(product: GlobalDataProduct, made_of: str) -> PipelineRun:
    return _start_run(product.pipeline, fetch_or_create_pipeline_schedule(product), {MADE_OF: made_of})


def _start_run(pipeline: Pipeline, schedule: PipelineSchedule, variables: Mapping[str, Any]) -> PipelineRun:
    """Make a run, and leave its block runs to the scheduler.

    Mage's own function makes both, one after the other. A scheduler that looks in between finds a run without
    block runs and makes them too: every block then runs twice, and one of the two fails.
    """
    return create_and_start_pipeline_run(pipeline, schedule, {"variables": dict(variables), "create_block_runs": False})


def _lock(name: str, timeout_seconds: float = 60) -> FileLock:
    folder = get_settings().state_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock", timeout=timeout_seconds)


def _ensure_session() -> None:
    """Start Mage's database session where the process has none, and read fresh rows where it has one."""
    db_connection.start_session()
    db_connection.session.expire_all()


def _as_utc(value: datetime | None) -> datetime | None:
    """SQLite returns times without a zone; Mage writes UTC."""
    if value is None:
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
