"""Environment variables of Mage's server, derived from the settings."""

import os
import re

from dotenv import dotenv_values

from stack.env_example import MAGE_VARIABLES
from stack.secrets import Secrets
from workflows.common.settings import ENV_FILE, Settings, read_named_files


def database_url(settings: Settings) -> str:
    """Return the URL of Mage's database: the configured one, or SQLite in the state folder."""
    if settings.mage_database_connection_url:
        # SQLAlchemy knows only the long name; hosts of Postgres hand out the short one.
        return re.sub(r"^postgres://", "postgresql://", settings.mage_database_connection_url.get_secret_value())
    (settings.state_dir / "mage").mkdir(parents=True, exist_ok=True)
    # Many processes write: the timeout lets them wait instead of failing with "database is locked". Not in WAL mode:
    # Mage forks while the database is open, which corrupts a WAL database.
    return f"sqlite:///{settings.state_dir}/mage/mage-ai.db?timeout=60&check_same_thread=false"


def mage_environment(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Return the environment variables of Mage's server and scheduler.

    Secrets and paths of the state folder always come from the arguments. For all other variables the process
    environment takes precedence over `.env`, `.env` over the files that `NAME_FILE` names, and those over the defaults.
    """
    defaults = {
        "DISABLE_AUTO_BROWSER_OPEN": "1",
        "DISABLE_TERMINAL": "1",
        "HIDE_API_TRIGGER_TOKEN": "1",
        "MAGE_PUBLIC_HOST": f"http://localhost:{settings.port}",
        "REQUIRE_USER_AUTHENTICATION": "1",
        "SCHEDULER_TRIGGER_INTERVAL": str(settings.scheduler_trigger_interval),
        "SERVER_VERBOSITY": "info",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    from_file = {name: value for name, value in dotenv_values(ENV_FILE).items() if value}
    from_process = {name: value for name, value in os.environ.items() if value}
    from_arguments = {
        "STATE_DIR": str(settings.state_dir),
        "MAGE_DATA_DIR": str(settings.state_dir / "mage"),
        "MAGE_DATABASE_CONNECTION_URL": database_url(settings),
        "DUCKDB_DATABASE": settings.duckdb_database or str(settings.state_dir / "warehouse.duckdb"),
        "DEFAULT_OWNER_EMAIL": settings.owner_email,
        "DEFAULT_OWNER_USERNAME": "owner",
        "DEFAULT_OWNER_PASSWORD": secrets.owner_password,
        "JWT_SECRET": secrets.jwt_secret,
    }
    return {**defaults, **read_named_files(MAGE_VARIABLES), **from_file, **from_process, **from_arguments}
