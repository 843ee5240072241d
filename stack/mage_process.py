"""Start and stop Mage's server and scheduler."""

import contextlib
import errno
import ipaddress
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
from workflows.common.errors import WorkflowError
from workflows.common.http import local_get
from workflows.common.processes import recorded_process, start_process, stop_process
from workflows.common.settings import REPO_PATH, Settings

START_TIMEOUT_SECONDS = 180
REQUIRED_BYTES = 2 * 1024**3


class StackError(WorkflowError):
    """Mage cannot start or has ended; the message is one line for the terminal."""


def record_path(settings: Settings) -> Path:
    """Return the file that identifies the running Mage process of a state folder."""
    return settings.state_dir / "services" / "mage.json"


def check_can_start(settings: Settings) -> None:
    """Check that Mage does not run already, that its port is free, and that the disk has enough space.

    Raises:
        StackError: one of the checks failed.
    """
    if process := recorded_process(record_path(settings)):
        raise StackError(
            f"Mage already runs with the state folder {settings.state_dir} (process {process.pid}); "
            "stop it with make stop, or choose another folder with STATE_DIR=..."
        )
    try:
        family = socket.getaddrinfo(settings.listen_address, settings.port)[0][0]
    except OSError:
        raise StackError(f"LISTEN_ADDRESS {settings.listen_address} is no address of this machine") from None
    with socket.socket(family) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen_address, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise StackError(f"LISTEN_ADDRESS {settings.listen_address} is no address of this machine") from None
            raise StackError(
                f"Port {settings.port} of {settings.listen_address} is in use; choose another one with PORT=..."
            ) from None
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.state_dir).free
    if free < REQUIRED_BYTES:
        raise StackError(
            f"{settings.state_dir} has {free / 1024**3:.1f} GiB free, but {REQUIRED_BYTES / 1024**3:.0f} GiB are "
            "required; free some space, or choose another folder with STATE_DIR=..."
        )


class MageProcess:
    """Mage's server and scheduler for one state folder.

    Args:
        settings: Address, port and state folder.
        secrets: Password of the owner, and signing key.
    """

    def __init__(self, settings: Settings, secrets: Secrets):
        self.settings = settings
        self.secrets = secrets
        self._environment = mage_environment(settings, secrets)
        base = self._environment.get("MAGE_ROUTES_BASE_PATH") or self._environment.get("MAGE_BASE_PATH") or ""
        self.url = "/".join(
            [f"http://{_local_host(settings.listen_address)}:{settings.port}", *base.strip("/").split()]
        )
        self.needs_sign_in = self._environment["REQUIRE_USER_AUTHENTICATION"].lower() in ("1", "true")
        self.checks_roles = self._environment.get("REQUIRE_USER_PERMISSIONS", "").lower() in ("1", "true")
        self.log_path: Path = settings.state_dir / "logs" / "mage.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and its scheduler, without waiting for them."""
        command = [sys.executable, "-m", "mage_server", str(REPO_PATH)]
        command += ["--host", self.settings.listen_address, "--port", str(self.settings.port)]
        path = record_path(self.settings)
        self._process = start_process(command, path, self.log_path, self._environment, port=self.settings.port)

    def wait_until_up(self) -> None:
        """Wait until the server responds.

        Raises:
            StackError: the server ended, or did not respond in time; the message names its log.
        """
        try:
            wait_until(self._is_up_or_ended, START_TIMEOUT_SECONDS)
        except TimeoutError:
            raise StackError(f"Mage did not respond within {START_TIMEOUT_SECONDS} s; see {self.log_path}") from None
        self.check_running()

    def check_running(self) -> None:
        """Raise StackError if the server has ended."""
        if not self.is_running():
            raise StackError(f"Mage has ended unexpectedly; see {self.log_path}")

    def is_running(self) -> bool:
        """Whether the process that `start` started is running."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the server, its scheduler and the blocks that they run."""
        if self._process is not None and self.is_running():
            stop_process(psutil.Process(self._process.pid))
            self._process.wait()
        record_path(self.settings).unlink(missing_ok=True)

    def _is_up_or_ended(self) -> bool:
        if not self.is_running():
            return True
        with contextlib.suppress(requests.RequestException):
            return local_get(f"{self.url}/api/statuses", 5).ok
        return False


def _local_host(listen_address: str) -> str:
    """Return the host by which this machine reaches a server that listens on an address."""
    try:
        address = ipaddress.ip_address(listen_address)
    except ValueError:
        return listen_address
    # Clients cannot connect to 0.0.0.0 or :: on every system.
    if address.is_unspecified:
        return "[::1]" if address.version == 6 else "127.0.0.1"
    return f"[{address}]" if address.version == 6 else str(address)
