"""Start, find and stop the local services: one of each per state folder, shared by all processes.

`make up` starts them with the stack. Where Mage was started by itself, the first block that needs one
starts it; such a service ends by itself after a time without requests.
"""

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import psutil
import requests
from filelock import FileLock

from workflows.errors import ServiceError
from workflows.files import write_text_atomically
from workflows.llm.local_model import local_model_identity
from workflows.settings import REPO_PATH, get_settings

logger = logging.getLogger(__name__)

ServiceName = Literal["companies_api", "llm_server"]
SERVICES: tuple[ServiceName, ...] = ("companies_api", "llm_server")
START_TIMEOUT_SECONDS = 90
IDLE_EXIT_SECONDS = 900


def ensure_service(name: ServiceName, idle_exit_seconds: int = IDLE_EXIT_SECONDS) -> str:
    """Return the base URL of a running, healthy service, starting it if there is none.

    One that serves something else than the settings name by now is replaced.

    Args:
        name: A module of this package that can be run with `--port` and `--idle-exit-seconds`
            and answers 200 at `/health` when it is ready.
        idle_exit_seconds: A service started here ends after this time without requests; 0 is never.

    Raises:
        ServiceError: it did not become healthy; the message names its log. Or there is no such model.
    """
    if url := running_service(name):
        return url
    folder = _services_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock", timeout=START_TIMEOUT_SECONDS * 2):
        if url := running_service(name):
            return url
        record = _read_record(_record_path(name))
        outdated = _process(record) if record and record.get("serves") != served(name) else None
        if record and outdated:
            logger.info("%s is started anew: it serves %s", name, record.get("serves"))
            stop_process(outdated)
            # What the stack started for as long as it runs stays so.
            idle_exit_seconds = record.get("idle_exit_seconds", idle_exit_seconds)
        return _start_service(name, idle_exit_seconds)


def running_service(name: ServiceName) -> str | None:
    """Return the base URL of the service if it runs, serves what the settings name and is healthy, else None."""
    record = _read_record(_record_path(name))
    if record is None or record.get("serves") != served(name) or _process(record) is None:
        return None
    url = f"http://127.0.0.1:{record['port']}"
    return url if _is_healthy(url) else None


def served(name: ServiceName) -> str | None:
    """Return what the service has to serve by the settings, None where that is always the same.

    Raises:
        ServiceError: there is no such model.
    """
    return local_model_identity(get_settings()) if name == "llm_server" else None


def stop_services(timeout_seconds: float = 10) -> list[str]:
    """Stop the services recorded in the state folder and return the names of those that ran."""
    stopped: list[str] = []
    for name in SERVICES:
        process = recorded_process(_record_path(name))
        if process is not None:
            stop_process(process, timeout_seconds)
            stopped.append(name)
        _record_path(name).unlink(missing_ok=True)
    return stopped


def stop_process(process: psutil.Process, timeout_seconds: float = 10) -> None:
    """End a process and its children: asked first, killed after the timeout."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*process.children(recursive=True), process]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.terminate()
        _, alive = psutil.wait_procs(family, timeout=timeout_seconds)
        for member in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(alive, timeout=timeout_seconds)


def local_get(url: str, timeout_seconds: float) -> requests.Response:
    """Ask a service on this machine, past any proxy that the environment names.

    Raises:
        requests.RequestException: no answer.
    """
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=timeout_seconds)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _start_service(name: ServiceName, idle_exit_seconds: int) -> str:
    port = free_port()
    serves = served(name)
    log_path = get_settings().state_dir / "logs" / f"{name}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"workflows.services.{name}", "--port", str(port)]
    command += ["--idle-exit-seconds", str(idle_exit_seconds)]
    with log_path.open("ab") as log:
        # A session of its own: the end of the block that starts it must not end the service.
        process = subprocess.Popen(
            command,
            cwd=REPO_PATH,
            env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    record = {
        "pid": process.pid,
        "created": psutil.Process(process.pid).create_time(),
        "port": port,
        "serves": serves,
        "idle_exit_seconds": idle_exit_seconds,
    }
    write_text_atomically(_record_path(name), json.dumps(record))
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _is_healthy(url):
            logger.info("Started %s at %s", name, url)
            return url
        time.sleep(0.1)
    with contextlib.suppress(psutil.NoSuchProcess):
        stop_process(psutil.Process(process.pid))
    _record_path(name).unlink(missing_ok=True)
    raise ServiceError(f"The local {name} did not start; its log is {log_path}")


def _services_dir() -> Path:
    return get_settings().state_dir / "services"


def _record_path(name: ServiceName) -> Path:
    return _services_dir() / f"{name}.json"


def recorded_process(record_path: Path) -> psutil.Process | None:
    """Return the process of a record `{pid, created, port}` if it is still that process and alive."""
    record = _read_record(record_path)
    return _process(record) if record else None


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record


def _process(record: dict[str, Any]) -> psutil.Process | None:
    """Return the recorded process, unless it ended and another one has its id now."""
    try:
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["created"]) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _is_healthy(url: str) -> bool:
    try:
        return local_get(f"{url}/health", 2).status_code == requests.codes.ok
    except requests.RequestException:
        return False
