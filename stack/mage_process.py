"""Mage's server and scheduler as one process group: started, recorded, found again, stopped."""

import contextlib
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import requests

from stack.environment import mage_environment
from stack.mage_client import wait_until
from stack.secrets import Secrets
from workflows.common.processes import recorded_process, start_process, stop_process, stop_recorded
from workflows.common.settings import REPO_PATH, Settings

START_TIMEOUT_SECONDS = 180
NEEDED_BYTES = 2 * 1024**3


class StackError(Exception):
    """The stack cannot start; the message is one line for the terminal."""


def check_machine(settings: Settings) -> None:
    """Refuse to start where it cannot work.

    Raises:
        StackError: the port is taken, the disk is full, or a stack of this state folder runs already.
    """
    if process := recorded_process(_record_path(settings)):
        raise StackError(
            f"Mage runs already on {settings.state_dir} (process {process.pid}); stop it with make stop, "
            "or choose another folder with STATE_DIR=..."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen_address, settings.port))
        except OSError:
            raise StackError(
                f"Port {settings.port} of {settings.listen_address} is in use; choose another one with PORT=..."
            ) from None
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.state_dir).free
    if free < NEEDED_BYTES:
        raise StackError(
            f"{settings.state_dir} has {free / 1024**3:.1f} GiB free, {NEEDED_BYTES / 1024**3:.0f} GiB are needed; "
            "make room or choose another folder with STATE_DIR=..."
        )


class MageServer:
    """Mage for one state folder.

    Args:
        settings: Where it listens and keeps its state.
        secrets: Its owner's password and signing key.
    """

    def __init__(self, settings: Settings, secrets: Secrets):
        self.settings = settings
        self.secrets = secrets
        # 0.0.0.0 is an address to listen on, not one to call.
        host = "127.0.0.1" if settings.listen_address in ("0.0.0.0", "::") else settings.listen_address
        self.url = f"http://{host}:{settings.port}"
        self.log_path: Path = settings.state_dir / "logs" / "mage.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and its scheduler and record the process; `wait_until_up` follows."""
        command = [sys.executable, "-m", "mage_server", str(REPO_PATH)]
        command += ["--host", self.settings.listen_address, "--port", str(self.settings.port)]
        environment = mage_environment(self.settings, self.secrets)
        record_path = _record_path(self.settings)
        self._process = start_process(command, record_path, self.log_path, environment, port=self.settings.port)

    def wait_until_up(self) -> None:
        """Return when the server answers.

        Raises:
            StackError: it ended or did not answer in time; the message names its log.
        """
        try:
            wait_until(self._is_up_or_ended, START_TIMEOUT_SECONDS)
        except TimeoutError:
            raise StackError(f"Mage did not answer within {START_TIMEOUT_SECONDS} s; see {self.log_path}") from None
        if not self.is_running():
            raise StackError(f"Mage ended while it started; see {self.log_path}")

    def is_running(self) -> bool:
        """Whether the process that was started is alive."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the server, its scheduler and the blocks that they run."""
        if self._process is not None and self._process.poll() is None:
            stop_process(psutil.Process(self._process.pid))
            self._process.wait()
        _record_path(self.settings).unlink(missing_ok=True)

    def _is_up_or_ended(self) -> bool:
        if not self.is_running():
            return True
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/api/statuses", timeout=5).ok
        return False


def stop_recorded_server(settings: Settings) -> bool:
    """Stop a server that an earlier stack left behind, and say whether there was one."""
    return stop_recorded(_record_path(settings))


def _record_path(settings: Settings) -> Path:
    return settings.state_dir / "services" / "mage.json"
