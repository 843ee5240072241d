"""Install every guard of this package in Mage's server."""

import os
from pathlib import Path

from mage_ai.settings.server import HIDE_API_TRIGGER_TOKEN
from tornado.web import Application

from mage_server.security import files, guard, sign_in, statuses, tokens
from mage_server.security.hosts import AllowedHosts, parse_names
from workflows.common.settings import Settings


def install(app: Application, settings: Settings, project: Path, listen_address: str) -> None:
    """Guard an application and what Mage's API does with files, tokens, sign-ins and statuses.

    Args:
        app: Mage's application, with the routes of this project.
        settings: The state folder, and the hosts that the user allows.
        project: Folder of the Mage project.
        listen_address: Address that the server listens on.
    """
    names = parse_names(settings.allowed_hosts)
    guard.protect(app, AllowedHosts(listen_address, names))
    files.install(project, _folders_with_secrets(settings))
    sign_in.install()
    statuses.install()
    if HIDE_API_TRIGGER_TOKEN:
        tokens.install()


def _folders_with_secrets(settings: Settings) -> list[Path]:
    data = os.getenv("MAGE_DATA_DIR")
    return [settings.state_dir, *([Path(data).expanduser()] if data else [])]
