"""Cache of answers, so that the same question is asked once."""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from workflows.common.errors import ServiceError
from workflows.common.files import write_text_atomically
from workflows.common.retention import Retention, remove_old

logger = logging.getLogger(__name__)

# Questions share a fixed number of lock files; two that share one are asked one after the other.
LOCKS = 4096
# Age at which temporary files of processes that were killed while writing are removed.
ABANDONED_SECONDS = 3600


class AnswerCache:
    """One JSON file for each answer; the least recently used are removed first.

    Plain files: each is replaced atomically and read without a lock, by any number of processes.

    Args:
        folder: Folder of the files; created with the first answer.
        max_bytes: Largest size of all answers together.
        wait_seconds: Longest wait for a process that asks the same question.
    """

    def __init__(self, folder: Path, max_bytes: int, wait_seconds: float):
        self._folder = folder
        self._max_bytes = max_bytes
        self._wait_seconds = wait_seconds

    @staticmethod
    def key(question: Mapping[str, Any]) -> str:
        """Return the name of a question: the SHA-256 of its JSON."""
        return hashlib.sha256(json.dumps(question, sort_keys=True, default=str).encode()).hexdigest()

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Lock a question, so that other processes do not ask it at the same time.

        Raises:
            ServiceError: another process still asks it after the longest wait.
        """
        folder = self._folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(folder / f"{int(key, 16) % LOCKS}.lock").acquire(timeout=self._wait_seconds)
        except Timeout:
            raise ServiceError(
                "The language model was not called: another process has been asking the same for "
                f"{self._wait_seconds:g} s (LLM_WAIT_SECONDS)"
            ) from None
        with lock:
            yield

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the value of a key, None where there is none or it cannot be read."""
        path = self._path(key)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("The cached answer %s cannot be read and is asked for again: %s", path, type(error).__name__)
            return None
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON value, and remove old ones beyond the size."""
        write_text_atomically(self._path(key), json.dumps(value, ensure_ascii=False))
        remove_old(self._folder.glob("*.json"), Retention(max_bytes=self._max_bytes))
        remove_old(self._folder.glob(".*.json.*"), Retention(max_age_seconds=ABANDONED_SECONDS))

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"
