"""Services that stand in for outside ones on this machine: one of each per state folder, shared by all processes.

`make up` starts them with Mage. Where Mage was started by itself, the first block that needs one starts it;
such a service ends by itself after a time without requests. Each start makes a key, which every request but those
to `/health` must send: other users of the machine and pages in a browser can reach the port, but not the key's file.
"""

import argparse
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
from filelock import FileLock

from workflows.common.errors import ServiceError
from workflows.common.files import write_text_atomically
from workflows.common.http import local_get
from workflows.common.processes import (
    Record,
    free_port,
    is_alive,
    process_of,
    read_record,
    start_process,
    stop_process,
    stop_recorded,
)
from workflows.common.settings import get_settings

logger = logging.getLogger(__name__)

START_TIMEOUT_SECONDS = 90
IDLE_EXIT_SECONDS = 900
# A service that works answers within milliseconds; on a busy machine it may take seconds.
UNRESPONSIVE_SECONDS = 15
REASON_LENGTH = 500


def _answers_ok(url: str) -> bool:
    """Whether `/health` answers 200."""
    try:
        return local_get(f"{url}/health", 2).status_code == requests.codes.ok
    except requests.RequestException:
        return False


@dataclass(frozen=True)
class LocalService:
    """A service that this project can run itself.

    Attributes:
        name: Name of its record and its log.
        module: Run with `--port`, `--key-file` and `--idle-exit-seconds`.
        content_id: Identifies what the settings have it serve; a service that serves other content is replaced.
        is_healthy: Whether the service at this URL is ready; by default, whether `/health` answers 200.
    """

    name: str
    module: str
    content_id: Callable[[], str | None] = lambda: None
    is_healthy: Callable[[str], bool] = _answers_ok


def ensure_service(service: LocalService, idle_exit_seconds: int = IDLE_EXIT_SECONDS) -> str:
    """Return the base URL of a running, healthy service, starting it if there is none.

    Args:
        service: Which one.
        idle_exit_seconds: A service started here ends after this time without requests; 0 is never.

    Raises:
        ServiceError: it did not become healthy, the message names its log; or what it should serve does not exist.
    """
    if url := running_service(service):
        return url
    folder = _services_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{service.name}.lock", timeout=START_TIMEOUT_SECONDS * 2):
        if url := running_service(service):
            return url
        record = read_record(_record_path(service))
        process = process_of(record) if record else None
        if record and process:
            is_current = record.get("serves") == service.content_id()
            if is_current and _becomes_healthy(service, _url(record), process, UNRESPONSIVE_SECONDS):
                return _url(record)
            reason = "it does not respond" if is_current else f"it serves {record.get('serves')}"
            logger.warning("%s is replaced: %s", service.name, reason)
            stop_process(process)
            # A service that the stack started for as long as it runs keeps running that long.
            idle_exit_seconds = record.get("idle_exit_seconds", idle_exit_seconds)
        return _start(service, idle_exit_seconds)


def service_arguments(description: str | None) -> argparse.Namespace:
    """Return `port`, `key` and `idle_exit_seconds`, which every service's module is started with."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key-file", type=Path, required=True, help="holds the key that requests must send")
    parser.add_argument("--idle-exit-seconds", type=float, default=0, help="0 is never")
    arguments = parser.parse_args()
    arguments.key = arguments.key_file.read_text(encoding="utf-8")
    return arguments


def running_service(service: LocalService) -> str | None:
    """Return the base URL of the service if it runs, serves what the settings name and is healthy, else None."""
    record = read_record(_record_path(service))
    if record is None or record.get("serves") != service.content_id() or process_of(record) is None:
        return None
    url = _url(record)
    return url if service.is_healthy(url) else None


def service_key(service: LocalService) -> str:
    """Return the key to send to a service that was started, as `Authorization: Bearer KEY`."""
    return _key_path(service).read_text(encoding="utf-8")


def running_services() -> list[tuple[str, str]]:
    """Return name and base URL of the services of the state folder whose processes are alive."""
    records = [(path.stem, read_record(path)) for path in sorted(_services_dir().glob("*.json"))]
    return [(name, _url(record)) for name, record in records if record is not None and process_of(record) is not None]


def stop_services(timeout_seconds: float = 10) -> list[str]:
    """Stop the processes recorded in the state folder and return the names of those that ran."""
    records = sorted(_services_dir().glob("*.json"))
    return [path.stem for path in records if stop_recorded(path, timeout_seconds)]


def _start(service: LocalService, idle_exit_seconds: int) -> str:
    port = free_port()
    log_path = get_settings().state_dir / "logs" / f"{service.name}.log"
    # In a file, since every user of the machine may read the arguments of a process.
    write_text_atomically(_key_path(service), secrets.token_urlsafe(32))
    command = [sys.executable, "-m", service.module, "--port", str(port), "--key-file", str(_key_path(service))]
    command += ["--idle-exit-seconds", str(idle_exit_seconds)]
    log_start = log_path.stat().st_size if log_path.exists() else 0
    process = start_process(
        command,
        _record_path(service),
        log_path,
        os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        port=port,
        serves=service.content_id(),
        idle_exit_seconds=idle_exit_seconds,
    )
    url, started = f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    if _becomes_healthy(service, url, started, START_TIMEOUT_SECONDS):
        logger.info("Started %s at %s", service.name, url)
        return url
    stop_process(started)
    _record_path(service).unlink(missing_ok=True)
    reason = _first_error(log_path, log_start)
    raise ServiceError(f"The local {service.name} did not start{reason}; its log is {log_path}")


def _first_error(log_path: Path, start: int) -> str:
    """Return the first line after `start` that tells of an error, after a colon; empty where there is none."""
    with log_path.open("rb") as log:
        log.seek(start)
        text = log.read().decode("utf-8", errors="replace")
    found = re.search(r"^.*(?:Error|Exception|error:).*$", text, flags=re.MULTILINE)
    return f": {found[0].strip()[:REASON_LENGTH]}" if found else ""


def _services_dir() -> Path:
    return get_settings().state_dir / "services"


def _record_path(service: LocalService) -> Path:
    return _services_dir() / f"{service.name}.json"


def _key_path(service: LocalService) -> Path:
    return _services_dir() / f"{service.name}.key"


def _url(record: Record) -> str:
    return f"http://127.0.0.1:{record['port']}"


def _becomes_healthy(service: LocalService, url: str, process: psutil.Process, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline and is_alive(process.pid):
        if service.is_healthy(url):
            return True
        time.sleep(0.1)
    return False
