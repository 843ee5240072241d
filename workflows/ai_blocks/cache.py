"""Answers that are kept, so that the same question is asked once."""

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from workflows.common.errors import ServiceError
from workflows.common.files import write_text_atomically

logger = logging.getLogger(__name__)

# Questions share locks, so that there is no lock file for each; two that share one are asked one after the other.
LOCKS = 4096
# Temporary files of processes that were killed while writing.
ABANDONED_SECONDS = 3600
# What is left after old answers were dropped, so that not every new one drops another.
SHARE_KEPT = 0.9


class AnswerCache:
    """One JSON file an answer; those not used for longest are dropped first.

    Plain files: each is replaced atomically and read without a lock, by any number of processes.

    Args:
        folder: Where the files are; made with the first answer.
        max_bytes: Size that all answers together may have.
        wait_seconds: How long a question may wait for the same one that another process is asking.
    """

    def __init__(self, folder: Path, max_bytes: int, wait_seconds: float):
        self._folder = folder
        self._max_bytes = max_bytes
        self._wait_seconds = wait_seconds

    @staticmethod
    def key(question: Mapping[str, Any]) -> str:
        """Return the name of a question: the SHA-256 of its JSON."""
        return hashlib.sha256(json.dumps(question, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    @contextlib.contextmanager
    def asking(self, key: str) -> Iterator[None]:
        """Keep other processes from asking the same question at the same time.

        Raises:
            ServiceError: another process was still asking it when the time was over.
        """
        folder = self._folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{int(key, 16) % LOCKS}.lock")
        try:
            lock.acquire(timeout=self._wait_seconds)
        except Timeout:
            raise ServiceError(
                "The language model was not asked: another process has been asking the same for "
                f"{self._wait_seconds:g} s (LLM_WAIT_SECONDS)"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what is kept under a key, None where there is nothing or it cannot be read."""
        path = self._path(key)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("The kept answer %s cannot be read and is asked for again: %s", path, type(error).__name__)
            return None
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON value, and drop old ones where there is too much."""
        write_text_atomically(self._path(key), json.dumps(value, ensure_ascii=False))
        with FileLock(self._folder / "size.lock"):
            self._drop_old()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _drop_old(self) -> None:
        files = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat()
                if entry.name.endswith(".json"):
                    files.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
                elif entry.name.startswith(".") and time.time() - status.st_mtime > ABANDONED_SECONDS:
                    Path(entry.path).unlink(missing_ok=True)
        size = sum(bytes_ for _, bytes_, _ in files)
        if size <= self._max_bytes:
            return
        for _, bytes_, path in sorted(files):
            path.unlink(missing_ok=True)
            size -= bytes_
            if size <= self._max_bytes * SHARE_KEPT:
                break
