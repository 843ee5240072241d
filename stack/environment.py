"""The environment that Mage's server is started with, made from the settings."""

import os

from dotenv import dotenv_values

from stack.secrets import Secrets
from workflows.common.settings import ENV_FILE, Settings


def database_url(settings: Settings) -> str:
    """Return the address of Mage's database: the configured one, or SQLite in the state folder."""
    if settings.mage_database_connection_url:
        return settings.mage_database_connection_url.get_secret_value()
    # Many processes write: each waits for its turn instead of failing with "database is locked". Not in
    # write-ahead mode: Mage forks with the database open, which corrupts the file in that mode.
    (settings.state_dir / "mage").mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{settings.state_dir}/mage/mage-ai.db?timeout=60&check_same_thread=false"


def mage_environment(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Return the variables of Mage's server and scheduler.

    The process environment comes first, then `.env`, then what follows from the settings. The secrets and
    the paths of the state folder are always the stack's own.
    """
    defaults = {
        "DISABLE_AUTO_BROWSER_OPEN": "1",
        "DISABLE_TERMINAL": "1",
        "HIDE_API_TRIGGER_TOKEN": "1",
        "REQUIRE_USER_AUTHENTICATION": "1",
        "SCHEDULER_TRIGGER_INTERVAL": str(settings.scheduler_trigger_interval),
        "SERVER_VERBOSITY": "info",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    from_file = {name: value for name, value in dotenv_values(ENV_FILE).items() if value}
    from_process = {name: value for name, value in os.environ.items() if value}
    own = {
        "STATE_DIR": str(settings.state_dir),
        "MAGE_DATA_DIR": str(settings.state_dir / "mage"),
        "MAGE_DATABASE_CONNECTION_URL": database_url(settings),
        "DUCKDB_DATABASE": settings.duckdb_database or str(settings.state_dir / "warehouse.duckdb"),
        "DEFAULT_OWNER_EMAIL": settings.owner_email,
        "DEFAULT_OWNER_USERNAME": "owner",
        "DEFAULT_OWNER_PASSWORD": secrets.owner_password,
        "JWT_SECRET": secrets.jwt_secret,
    }
    return {**defaults, **from_file, **from_process, **own}
