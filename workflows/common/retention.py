"""Keep the newest of what a folder collects and remove the rest: the one routine for all that grows."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retention:
    """What is kept. An entry is removed as soon as one of the limits asks for it.

    Attributes:
        keep: Largest number of entries.
        max_bytes: Largest size of all entries together; for files only.
        max_age_seconds: Age from which an entry is removed.
        min_age_seconds: An entry younger than this stays whatever the other limits say: it may be in use.
    """

    keep: int | None = None
    max_bytes: int | None = None
    max_age_seconds: float | None = None
    min_age_seconds: float = 0.0


def remove_old(
    paths: Iterable[Path],
    retention: Retention,
    is_protected: Callable[[Path], bool] = lambda _: False,
    now: float | None = None,
) -> list[Path]:
    """Remove files and folders beyond the limits, the oldest first, and return what was removed.

    Age is the time since the last modification. What another process removes meanwhile is passed over; what cannot
    be removed is logged and stays.

    Args:
        paths: Files or folders.
        retention: The limits.
        is_protected: Whether an entry stays in any case.
        now: Present time in seconds since 1970.
    """
    present = time.time() if now is None else now
    entries = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            entries.append((status.st_mtime_ns, path.name, status.st_size, path))
    removed: list[Path] = []
    size = 0
    for count, (modified_ns, _, size_bytes, path) in enumerate(sorted(entries, reverse=True), start=1):
        size += size_bytes
        age_seconds = present - modified_ns / 1e9
        is_beyond = (
            (retention.keep is not None and count > retention.keep)
            or (retention.max_bytes is not None and size > retention.max_bytes)
            or (retention.max_age_seconds is not None and age_seconds >= retention.max_age_seconds)
        )
        if is_beyond and age_seconds >= retention.min_age_seconds and not is_protected(path) and _remove(path):
            removed.append(path)
    return removed


def rotate(path: Path, max_bytes: int) -> bool:
    """Keep a log that is larger than the limit as `NAME.1`, and go on with an empty one; return whether it was.

    The file itself stays, since the process that writes it has it open for appending.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
    except OSError as error:
        logger.warning("%s could not be rotated: %s", path, error.strerror)
        return False
    return True


def _remove(path: Path) -> bool:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.warning("%s could not be removed: %s", path, error.strerror)
        return False
    return True
