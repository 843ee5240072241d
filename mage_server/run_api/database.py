"""Access to Mage's database: short statements that run outside the event loop."""

from mage_ai.data_preparation.models.triggers import ScheduleStatus, ScheduleType
from mage_ai.orchestration import db
from mage_ai.orchestration.db.models.schedules import PipelineRun, PipelineSchedule
from sqlalchemy import String, cast, create_engine, func, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from mage_server.run_api.trigger_tokens import Trigger, token_digest
from workflows.common.pipeline_runs import CALL_MARKER


def make_engine() -> Engine:
    """Return the engine for this package.

    For SQLite this is a separate engine that opens the file for each transaction and closes it afterwards, so that
    no process that Mage forks inherits an open file. For other databases it is Mage's engine with its pool.
    """
    if db.engine.dialect.name != "sqlite":
        return db.engine
    return create_engine(db.engine.url, poolclass=NullPool, connect_args=db.db_kwargs["connect_args"])


def load_triggers(engine: Engine) -> list[Trigger]:
    """Read all API triggers that have a token."""
    table = PipelineSchedule.__table__.c
    statement = select(table.id, table.pipeline_uuid, table.status, table.token).where(
        table.schedule_type == ScheduleType.API, table.token.is_not(None), table.token != ""
    )
    with engine.connect() as connection:
        return [
            Trigger(
                id=row.id,
                pipeline_uuid=row.pipeline_uuid,
                is_active=row.status == ScheduleStatus.ACTIVE,
                digest=token_digest(row.token),
            )
            for row in connection.execute(statement)
        ]


def has_completed_run(engine: Engine, pipeline_uuid: str) -> bool:
    """Whether a pipeline has ever completed; calls over /api/runs are no runs of it."""
    table = PipelineRun.__table__.c
    statement = select(table.id).where(
        table.pipeline_uuid == pipeline_uuid,
        table.status == PipelineRun.PipelineRunStatus.COMPLETED,
        func.coalesce(cast(table.metrics, String), "").not_like(f'%"{CALL_MARKER}"%'),
    )
    with engine.connect() as connection:
        return connection.execute(statement.limit(1)).first() is not None


def check_connection(engine: Engine) -> None:
    """Read one row from the database.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be read.
    """
    with engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM pipeline_run LIMIT 1"))
