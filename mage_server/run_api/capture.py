"""Capture what each call prints and logs, separately for concurrent calls.

Mage replaces `sys.stdout` of the whole process while a block runs. With concurrent calls this mixes their output and
can leave a replaced stream in place for ever. Here the streams are replaced once and select the log of the call that
runs in the writing thread.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

from mage_ai.data_preparation.logging.logger import DictLogger

from workflows.common.redaction import redact

MAX_LOG_BYTES = 256 * 1024
_current = threading.local()


class CallLog:
    """The log of one call, in the format of Mage's logs page.

    Args:
        tags: Tags added to every line, as Mage does.
        is_kept: False drops all lines, for calls that are not recorded.
    """

    def __init__(self, tags: dict[str, Any], is_kept: bool = True):
        self._lines: list[str] = []
        self._bytes = 0
        self._unfinished_line = ""
        self._is_kept = is_kept
        # `logging.getLogger` would keep a logger in memory for every call ever made.
        python_logger = logging.Logger("call", logging.INFO)
        python_logger.addHandler(_CallLogHandler(self))
        self.logger = DictLogger(python_logger, logging_tags=tags)

    @property
    def text(self) -> str:
        """The lines so far, as the content of a log file."""
        return "".join(self._lines)

    def info(self, message: str) -> None:
        """Add a line written by the server."""
        if self._is_kept:
            self.logger.info(message)

    def print(self, text: str) -> None:
        """Add printed text, which may be a part of a line: `print` writes each of its arguments separately."""
        *lines, self._unfinished_line = (self._unfinished_line + text).split("\n")
        for line in lines:
            if line.strip():
                self.logger.info(line.rstrip())
        self._unfinished_line = self._unfinished_line[-MAX_LOG_BYTES:]

    def flush(self) -> None:
        """Add a line that was printed without a line break at its end."""
        if self._unfinished_line:
            self.print("\n")

    def write_line(self, line: str) -> None:
        """Keep a formatted line, up to `MAX_LOG_BYTES`, so that an endless loop in a block cannot exhaust memory."""
        if self._is_kept and self._bytes < MAX_LOG_BYTES:
            self._lines.append(line + "\n")
            self._bytes += len(line)


class _CallLogHandler(logging.Handler):
    """Formats the records of a call's logger and adds them to its log."""

    def __init__(self, log: CallLog):
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
        self._log = log

    def createLock(self) -> None:
        """Create no lock: a call runs in one thread."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        self._log.write_line(self.format(record))


class _LibraryLogHandler(logging.Handler):
    """Copies what libraries log during a call to the log of that call."""

    def emit(self, record: logging.LogRecord) -> None:
        log: CallLog | None = getattr(_current, "log", None)
        if log is not None and not record.name.startswith("mage_server."):
            log.logger.log(record.levelno, record.getMessage())


class _PerThreadStream:
    """Replaces `sys.stdout` or `sys.stderr`: text printed by a call goes to its log, other text to the original."""

    def __init__(self, original: Any):
        self._original = original

    def write(self, text: str) -> int:
        log: CallLog | None = getattr(_current, "log", None)
        if log is None:
            return int(self._original.write(redact(text)) or 0)
        log.print(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def install() -> None:
    """Replace the streams and add the log handler, once per process."""
    if not isinstance(sys.stdout, _PerThreadStream):
        sys.stdout = _PerThreadStream(sys.stdout)
        sys.stderr = _PerThreadStream(sys.stderr)
    root = logging.getLogger()
    if not any(isinstance(handler, _LibraryLogHandler) for handler in root.handlers):
        root.addHandler(_LibraryLogHandler(logging.INFO))
    logging.getLogger("workflows").setLevel(logging.INFO)


@contextlib.contextmanager
def capture_output(log: CallLog) -> Iterator[None]:
    """Send what this thread prints and logs to the log of a call."""
    _current.log = log
    try:
        yield
    finally:
        log.flush()
        _current.log = None
