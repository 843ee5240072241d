"""Mage's database, for short statements off the event loop."""

from mage_ai.data_preparation.models.triggers import ScheduleStatus, ScheduleType
from mage_ai.orchestration import db
from mage_ai.orchestration.db.models.schedules import PipelineSchedule
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from mage_server.run_api.trigger_tokens import Trigger, digest_of


def make_engine() -> Engine:
    """Return an engine of this package's own.

    SQLite is opened for each transaction and closed after it: Mage forks, and no child may inherit an open file of
    ours. Elsewhere Mage's engine and its pool serve.
    """
    if db.engine.dialect.name != "sqlite":
        return db.engine
    return create_engine(db.engine.url, poolclass=NullPool, connect_args=db.db_kwargs["connect_args"])


def load_triggers(engine: Engine) -> list[Trigger]:
    """Read the API triggers."""
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
                digest=digest_of(row.token),
            )
            for row in connection.execute(statement)
        ]


def check(engine: Engine) -> None:
    """Read from the database.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it cannot be read.
    """
    with engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM pipeline_run LIMIT 1"))
