"""Background processes of a state folder: started in a session of their own, recorded, found again, stopped."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from workflows.common.files import write_text_atomically
from workflows.common.settings import REPO_PATH

Record = dict[str, Any]
POLL_SECONDS = 0.1
# What the stack writes is its user's alone.
PRIVATE_UMASK = 0o077


def start_process(
    command: Sequence[str],
    record_path: Path,
    log_path: Path,
    environment: Mapping[str, str] = os.environ,
    **details: Any,
) -> subprocess.Popen[bytes]:
    """Start a process in the project's folder and record it.

    Its session is its own, so that neither Ctrl-C nor the end of the block that started it ends the process.

    Args:
        command: Program and arguments.
        record_path: JSON file that identifies the process: `pid`, `created` and the details.
        log_path: File that its output is added to.
        environment: Variables of the process.
        **details: JSON values that are kept in the record.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=REPO_PATH,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=PRIVATE_UMASK,
        )
    record_process(psutil.Process(process.pid), record_path, **details)
    return process


def record_process(process: psutil.Process, record_path: Path, **details: Any) -> None:
    """Write the file that identifies a process, with further JSON values."""
    write_text_atomically(record_path, json.dumps({"pid": process.pid, "created": process.create_time(), **details}))


def read_record(path: Path) -> Record | None:
    """Return the record of a process, None where there is none that can be read."""
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record


def process_of(record: Record) -> psutil.Process | None:
    """Return the recorded process, unless it ended and another one has its id now."""
    try:
        process = psutil.Process(record["pid"])
        is_same = abs(process.create_time() - record["created"]) < 1
        return process if is_same and is_alive(process.pid) else None
    except psutil.NoSuchProcess:
        return None


def recorded_process(record_path: Path) -> psutil.Process | None:
    """Return the process of a record file if it is alive."""
    record = read_record(record_path)
    return process_of(record) if record else None


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie has ended: in a container without an init process, nobody collects orphans."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def stop_process(process: psutil.Process, timeout_seconds: float = 10) -> None:
    """End a process and its children: asked first, killed after the timeout."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*process.children(recursive=True), process]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.terminate()
        alive = _wait_for_end(family, timeout_seconds)
        for member in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        _wait_for_end(alive, timeout_seconds)


def _wait_for_end(processes: Sequence[psutil.Process], timeout_seconds: float) -> list[psutil.Process]:
    """Wait until processes have ended, and return those that have not."""
    deadline = time.monotonic() + timeout_seconds
    alive = list(processes)
    while True:
        _, alive = psutil.wait_procs(alive, timeout=POLL_SECONDS)
        alive = [process for process in alive if is_alive(process.pid)]
        if not alive or time.monotonic() >= deadline:
            return alive


def stop_recorded(record_path: Path, timeout_seconds: float = 10) -> bool:
    """Stop the process of a record file, remove the file, and tell whether the process was alive."""
    process = recorded_process(record_path)
    if process is not None:
        stop_process(process, timeout_seconds)
    record_path.unlink(missing_ok=True)
    return process is not None


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
