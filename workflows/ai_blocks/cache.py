"""Cache of answers, so that the same question is asked once."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from workflows.common.errors import ServiceError
from workflows.common.files import write_text_atomically
from workflows.common.retention import Retention, remove_old
from workflows.common.time_limit import remaining_seconds

# Questions share a fixed number of lock files; two that share one are asked one after the other.
LOCKS = 4096
# Age at which temporary files of processes that were killed while writing are removed.
ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class AnswerCache:
    """One JSON file for each answer; the least recently used are removed first.

    Plain files: each is replaced atomically and read without a lock, by any number of processes.
    """

    folder: Path
    max_bytes: int  # Largest size of all answers together.
    wait_seconds: float  # Longest wait for a process that asks the same question.

    @staticmethod
    def key(question: Mapping[str, Any]) -> str:
        """Return the name of a question: the SHA-256 of its JSON."""
        return hashlib.sha256(json.dumps(question, sort_keys=True, default=str).encode()).hexdigest()

    def locked(self, key: str) -> AcquireReturnProxy:
        """Lock a question in a `with` statement, so that other processes do not ask it at the same time.

        Raises:
            ServiceError: another process still asks it after the longest wait.
        """
        path = self.folder / "locks" / f"{int(key, 16) % LOCKS}.lock"
        try:
            return FileLock(path).acquire(timeout=min(self.wait_seconds, remaining_seconds()))
        except Timeout:
            raise ServiceError(
                "The language model was not called: another process has been asking the same for "
                f"{self.wait_seconds:g} s (LLM_WAIT_SECONDS), or as long as the caller waits"
            ) from None

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the value of a key, None where there is none or it cannot be read."""
        path = self._path(key)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            os.utime(path)
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON value, and remove old ones beyond the size."""
        write_text_atomically(self._path(key), json.dumps(value, ensure_ascii=False))
        remove_old(self.folder.glob("*.json"), Retention(max_bytes=self.max_bytes))
        remove_old(self.folder.glob(".*.json.*"), Retention(max_age_seconds=ABANDONED_SECONDS))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"
