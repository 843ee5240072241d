"""What the log of a block says: the progress that `workflows` reports, and at the end the reason of a failure.

As shipped, what a block logs with Python's `logging` goes to the server's log, and a failure ends in a traceback.
"""

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

from mage_ai.data_preparation.logging.logger import DictLogger
from mage_ai.data_preparation.models.block import Block

from workflows.common.errors import WorkflowError


def install() -> None:
    """Wrap how Mage redirects the output of a block, and how it logs exceptions."""
    redirect_streams, log_exception = Block._redirect_streams, DictLogger.exception

    @contextlib.contextmanager
    def redirect_with_progress(self: Block, *args: Any, logger: Any = None, **kwargs: Any) -> Iterator[Any]:
        with redirect_streams(self, *args, logger=logger, **kwargs) as streams, _progress(logger, kwargs):
            yield streams

    @functools.wraps(log_exception)
    def exception(self: DictLogger, message: str, **kwargs: Any) -> None:
        log_exception(self, message, **kwargs)
        error = kwargs.pop("error", None)
        if isinstance(error, WorkflowError):
            self.error(str(error), **kwargs)

    Block._redirect_streams, DictLogger.exception = redirect_with_progress, exception


@contextlib.contextmanager
def _progress(logger: Any, options: dict[str, Any]) -> Iterator[None]:
    """Pass what the workflows log on to the log of a block; the editor's kernel and `/api/runs` have none."""
    if not isinstance(logger, DictLogger):
        yield
        return
    handler, source = _Forward(logger, options.get("logging_tags") or {}), logging.getLogger("workflows")
    source.addHandler(handler)
    try:
        yield
    finally:
        source.removeHandler(handler)


class _Forward(logging.Handler):
    def __init__(self, logger: DictLogger, tags: dict[str, Any]):
        super().__init__(logging.INFO)
        self._logger, self._tags = logger, tags

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.log(record.levelno, record.getMessage(), **self._tags)
