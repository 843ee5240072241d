"""Atomic writes: a reader sees the old content or the new, never a part."""

import contextlib
import os
import tempfile
from pathlib import Path


def write_text_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace `path` by `text`, for its user alone, synchronised to disk with its name; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _synchronise_folder(path.parent)


def _synchronise_folder(path: Path) -> None:
    """Keep the names in a folder through a loss of power, where the file system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
