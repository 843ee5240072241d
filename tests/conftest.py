"""Every test works on a state folder of its own session, and none reads the user's `.env`.

Mage reads these variables when it is imported, so they are set before any test module is.
"""

import os
import tempfile

# Before the settings are imported, which look for it then.
os.environ["ENV_FILE"] = os.devnull

from workflows.common.settings import Settings

_STATE = tempfile.TemporaryDirectory(prefix="mage-workflows-test-")

# What a developer's shell or `.env` may say must not decide a test.
for _name in [name.upper() for name in Settings.model_fields]:
    os.environ.pop(_name, None)
    os.environ.pop(f"{_name}_FILE", None)
os.environ |= {
    "STATE_DIR": _STATE.name,
    "MAGE_DATA_DIR": f"{_STATE.name}/mage",
    "MAGE_DATABASE_CONNECTION_URL": f"sqlite:///{_STATE.name}/mage-ai.db?timeout=60&check_same_thread=false",
    "DUCKDB_DATABASE": f"{_STATE.name}/warehouse.duckdb",
    "REQUIRE_USER_AUTHENTICATION": "0",
}


def pytest_unconfigure() -> None:
    """Stop what tests left running in the state folder, and remove it."""
    from workflows.common.local_services import stop_services

    stop_services()
    _STATE.cleanup()
