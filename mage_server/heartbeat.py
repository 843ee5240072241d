"""The scheduler's heartbeat: a file with the id of its process that every tick of its loop touches."""

import os
import time
from pathlib import Path

from workflows.common.settings import get_settings


def heartbeat_path() -> Path:
    """Return the file whose modification time is the scheduler's last tick."""
    return get_settings().state_dir / "scheduler_heartbeat"


def start_heartbeat() -> None:
    """Note that this process is the scheduler."""
    path = heartbeat_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(os.getpid()), encoding="utf-8")


def beat() -> None:
    """Note a tick."""
    heartbeat_path().touch()


def heartbeat_time() -> float | None:
    """Return the time of the scheduler's last tick in seconds since 1970, None where there was none."""
    try:
        return heartbeat_path().stat().st_mtime
    except FileNotFoundError:
        return None


def heartbeat_age_seconds() -> float | None:
    """Return the seconds since the scheduler's last tick, None where there was none."""
    beat_at = heartbeat_time()
    return None if beat_at is None else max(0.0, time.time() - beat_at)
