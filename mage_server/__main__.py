"""Start Mage's server and scheduler with this project's `/api/runs` and job queue.

Run as `python -m mage_server PROJECT --host 127.0.0.1 --port 6789`, in place of `mage start`.
"""

import argparse
import asyncio
import logging
import os
from pathlib import Path

from mage_ai.settings.repo import set_repo_path

from mage_server.preload import preload
from workflows.common.processes import PRIVATE_UMASK

logger = logging.getLogger(__name__)


def main() -> None:
    """Start Mage's server and scheduler as `mage start` does."""
    parser = argparse.ArgumentParser(prog="python -m mage_server", description=__doc__)
    parser.add_argument("project", type=Path, help="folder of the Mage project")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", default="6789", help="port to listen on (default: 6789)")
    arguments = parser.parse_args()
    os.umask(PRIVATE_UMASK)
    project = arguments.project.resolve()
    # With the name, Mage listens on every address of the machine.
    host = "127.0.0.1" if arguments.host == "localhost" else arguments.host
    # Mage derives the location of its database from the project's path, when its other modules are imported.
    set_repo_path(str(project))
    from mage_server import job_queue

    # The scheduler reads the queue when it is imported, as it is by the modules below.
    job_queue.install()
    preload()
    from mage_server import block_logs, editor, kernels, project_settings, redaction, scheduler_loop, watchdog

    kernels.install()
    editor.install()
    block_logs.install()
    project_settings.install()
    redaction.install()
    scheduler_loop.install()
    watchdog.install()
    from mage_ai.orchestration.db import set_db_schema
    from mage_ai.orchestration.db.database_manager import database_manager
    from mage_ai.server import server
    from mage_ai.server.setup import initialize_globals
    from mage_ai.shared.constants import ENV_VAR_INSTANCE_TYPE, InstanceType

    from mage_server.server import RunApiExtension

    RunApiExtension(project, host).install()
    initialize_globals()
    # Otherwise the scheduler's process does it, and the server sleeps five seconds, which can be too long or too short.
    set_db_schema()
    database_manager.run_migrations()
    server.sleep = lambda _: None
    instance_type = os.getenv(ENV_VAR_INSTANCE_TYPE, InstanceType.SERVER_AND_SCHEDULER)
    try:
        server.start_server(host=host, port=arguments.port, project=str(project), instance_type=instance_type)
    except (KeyboardInterrupt, asyncio.CancelledError):
        logger.info("Stopped")


if __name__ == "__main__":
    main()
