"""Tokens of API triggers. They are read from Mage's database, because its API and files hide them."""

from sqlalchemy import create_engine, text

from stack.environment import database_url
from stack.mage_client import MageError
from workflows.common.settings import Settings


def trigger_token(settings: Settings, trigger_id: int) -> str:
    """Return the token of a trigger.

    Raises:
        MageError: the trigger does not exist or has no token.
    """
    engine = create_engine(database_url(settings))
    try:
        with engine.connect() as connection:
            statement = text("SELECT token FROM pipeline_schedule WHERE id = :id")
            token = connection.execute(statement, {"id": trigger_id}).scalar()
    finally:
        engine.dispose()
    if not token:
        raise MageError(f"Trigger {trigger_id} has no token in Mage's database")
    return str(token)
