"""Read triggers and runs from Mage's database.

Its API needs a signed-in user, whose password may have been changed in the UI, and hides the tokens of triggers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, column, create_engine, or_, select, table
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import Select

from workflows.common.errors import WorkflowError
from workflows.common.settings import REPO_PATH

ENDED = ("completed", "failed", "cancelled")
DONE_BLOCKS = ("completed", "condition_failed")

_SCHEDULE = table(
    "pipeline_schedule",
    *map(column, ("id", "name", "pipeline_uuid", "schedule_type", "token", "repo_path", "global_data_product_uuid")),
)
_RUN = table(
    "pipeline_run",
    *map(column, ("id", "pipeline_schedule_id", "pipeline_uuid", "status")),
    column("created_at", DateTime),
    column("completed_at", DateTime),
    column("variables", JSON),
)
_USER = table("user", column("id"))
_BLOCK_RUN = table("block_run", *map(column, ("id", "pipeline_run_id", "block_uuid", "status")))


class DatabaseError(WorkflowError):
    """Mage's database cannot be read, or lacks what was asked for."""


@dataclass(frozen=True)
class Trigger:
    """A trigger; `repr` hides its token."""

    id: int
    name: str
    token: str | None

    def __repr__(self) -> str:
        return f"Trigger({self.id}, {self.name})"


@dataclass(frozen=True)
class BlockRun:
    """The run of one block."""

    block: str
    status: str


@dataclass(frozen=True)
class PipelineRun:
    """A run of a pipeline; times are UTC."""

    id: int
    pipeline: str
    trigger: str
    is_scheduled: bool
    status: str
    created_at: datetime
    completed_at: datetime | None
    triggered_by: int | None
    variables: Mapping[str, Any]
    blocks: tuple[BlockRun, ...]

    @property
    def has_ended(self) -> bool:
        """Whether the run is completed, failed or cancelled."""
        return self.status in ENDED

    @property
    def blocks_done(self) -> int:
        """Number of blocks that completed or were skipped by a condition."""
        return sum(block.status in DONE_BLOCKS for block in self.blocks)

    def seconds(self, now: datetime) -> float:
        """Return the seconds from the creation of the run to its end, or to `now` if it has not ended."""
        return ((self.completed_at or now) - self.created_at).total_seconds()


class MageDatabase:
    """Mage's database, opened for each question.

    Every method raises DatabaseError if the database cannot be read, or Mage has not made its tables yet.

    Args:
        url: Address of the database, as SQLAlchemy takes it.
    """

    def __init__(self, url: str):
        self._engine: Engine = create_engine(url, poolclass=NullPool)

    def triggers(self, pipeline: str) -> dict[str, Trigger]:
        """Return a pipeline's triggers by name."""
        here = or_(_SCHEDULE.c.repo_path == str(REPO_PATH), _SCHEDULE.c.repo_path.is_(None))
        query = select(_SCHEDULE).where(_SCHEDULE.c.pipeline_uuid == pipeline, here)
        return {row["name"]: Trigger(row["id"], row["name"], row["token"]) for row in self._rows(query)}

    def user_count(self) -> int:
        """Return the number of users who can sign in."""
        return len(self._rows(select(_USER)))

    def runs(self, pipeline: str, limit: int = 30) -> list[PipelineRun]:
        """Return the newest runs of a pipeline, newest first, without refreshes of data products."""
        is_own = (_RUN.c.pipeline_uuid == pipeline) & _SCHEDULE.c.global_data_product_uuid.is_(None)
        return self._runs(is_own, limit)

    def refreshes(self, data_product: str, limit: int = 30) -> list[PipelineRun]:
        """Return the newest runs that refreshed a global data product, newest first."""
        return self._runs(_SCHEDULE.c.global_data_product_uuid == data_product, limit)

    def _runs(self, condition: Any, limit: int) -> list[PipelineRun]:
        query = (
            select(_RUN, _SCHEDULE.c.name, _SCHEDULE.c.schedule_type)
            .select_from(_RUN.join(_SCHEDULE, _SCHEDULE.c.id == _RUN.c.pipeline_schedule_id))
            .where(condition)
            .order_by(_RUN.c.id.desc())
            .limit(limit)
        )
        rows = self._rows(query)
        ids = [row["id"] for row in rows]
        blocks: dict[int, list[BlockRun]] = {run_id: [] for run_id in ids}
        of_runs = select(_BLOCK_RUN).where(_BLOCK_RUN.c.pipeline_run_id.in_(ids)).order_by(_BLOCK_RUN.c.id)
        for row in self._rows(of_runs) if ids else []:
            blocks[row["pipeline_run_id"]].append(BlockRun(row["block_uuid"], row["status"].lower()))
        return [_pipeline_run(row, blocks[row["id"]]) for row in rows]

    def _rows(self, query: Select) -> list[Mapping[str, Any]]:
        try:
            with self._engine.connect() as connection:
                return [dict(row._mapping) for row in connection.execute(query)]
        except SQLAlchemyError as error:
            # Its text may hold the address with a password.
            raise DatabaseError(f"Mage's database cannot be read ({type(error).__name__})") from None


def _pipeline_run(row: Mapping[str, Any], blocks: list[BlockRun]) -> PipelineRun:
    variables = row["variables"] or {}
    return PipelineRun(
        id=row["id"],
        pipeline=row["pipeline_uuid"],
        trigger=row["name"] or "",
        is_scheduled=(row["schedule_type"] or "").lower() == "time",
        status=row["status"].lower(),
        created_at=_as_utc(row["created_at"]),
        completed_at=_as_utc(row["completed_at"]) if row["completed_at"] else None,
        triggered_by=variables.get("triggered_by_run_id"),
        variables=variables,
        blocks=tuple(blocks),
    )


def _as_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
