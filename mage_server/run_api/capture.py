"""What one call prints and logs, kept apart from the other calls that run beside it.

Mage redirects `sys.stdout` of the whole process while a block runs, which mixes concurrent calls and can leave the
redirection of one of them in place for ever. Here the streams look up the call of the thread that writes.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

from mage_ai.data_preparation.logging.logger import DictLogger

MAX_LOG_BYTES = 256 * 1024
_current = threading.local()


class CallLog:
    """The log of one call, in the form that Mage's logs page reads.

    Args:
        tags: Added to every line, as Mage does.
        is_kept: Without it, lines are dropped: the call is not recorded.
    """

    def __init__(self, tags: dict[str, Any], is_kept: bool = True):
        self._lines: list[str] = []
        self._bytes = 0
        self._begun = ""
        self._is_kept = is_kept
        # Not from `getLogger`: that would keep a logger for every call ever made.
        python_logger = logging.Logger("call", logging.INFO)
        python_logger.addHandler(_LinesHandler(self))
        self.logger = DictLogger(python_logger, logging_tags=tags)

    @property
    def text(self) -> str:
        """The lines so far, as the content of a log file."""
        return "".join(self._lines)

    def info(self, message: str) -> None:
        """Log a line of the server's own."""
        if self._is_kept:
            self.logger.info(message)

    def print(self, text: str) -> None:
        """Take printed text: `print` sends its arguments one by one, and a line has ended at its end."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self.logger.info(line.rstrip())
        self._begun = self._begun[-MAX_LOG_BYTES:]

    def flush(self) -> None:
        """End a line that was printed without its end."""
        if self._begun:
            self.print("\n")

    def write_line(self, line: str) -> None:
        """Keep a line, up to `MAX_LOG_BYTES`: a block in an endless loop must not fill the memory."""
        if self._is_kept and self._bytes < MAX_LOG_BYTES:
            self._lines.append(line + "\n")
            self._bytes += len(line)


class _LinesHandler(logging.Handler):
    def __init__(self, log: CallLog):
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
        self._log = log

    def createLock(self) -> None:
        """One call, one thread: no lock."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        self._log.write_line(self.format(record))


class _CallHandler(logging.Handler):
    """Copies what libraries log during a call to the log of that call."""

    def emit(self, record: logging.LogRecord) -> None:
        log: CallLog | None = getattr(_current, "log", None)
        if log is not None and not record.name.startswith("mage_server."):
            log.logger.log(record.levelno, record.getMessage())


class _Stream:
    """Stands for `sys.stdout` or `sys.stderr`: text of a call goes to its log, all other text where it went before."""

    def __init__(self, original: Any):
        self._original = original

    def write(self, text: str) -> int:
        log: CallLog | None = getattr(_current, "log", None)
        if log is None:
            return int(self._original.write(text) or 0)
        log.print(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def install() -> None:
    """Put the streams and the log handler in place, once per process."""
    if not isinstance(sys.stdout, _Stream):
        sys.stdout = _Stream(sys.stdout)
        sys.stderr = _Stream(sys.stderr)
    root = logging.getLogger()
    if not any(isinstance(handler, _CallHandler) for handler in root.handlers):
        root.addHandler(_CallHandler(logging.INFO))
    logging.getLogger("workflows").setLevel(logging.INFO)


@contextlib.contextmanager
def capturing(log: CallLog) -> Iterator[None]:
    """Send what this thread prints and logs to the log of a call."""
    _current.log = log
    try:
        yield
    finally:
        log.flush()
        _current.log = None
