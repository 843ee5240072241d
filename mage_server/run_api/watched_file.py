"""A file that is read again only after it has changed."""

import os
import time
from pathlib import Path

# A file modified this shortly before it was read may change again without a new time stamp.
TIMESTAMP_SECONDS = 1.0


class WatchedFile:
    """Cached content of a file.

    Args:
        path: The file.

    Attributes:
        content: Bytes of the file when `has_changed` was last called.
    """

    def __init__(self, path: Path):
        self.path = path
        self.content = b""
        self._stamp: tuple[int, int, int] | None = None
        self._is_settled = False

    def has_changed(self) -> bool:
        """Update `content`, and return whether it differs from before; the first call returns True.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        stat = os.stat(self.path)
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if stamp == self._stamp and self._is_settled:
            return False
        read_at = time.time()
        content = self.path.read_bytes()
        is_new = self._stamp is None or content != self.content
        self.content, self._stamp = content, stamp
        self._is_settled = read_at - stat.st_mtime > TIMESTAMP_SECONDS
        return is_new
