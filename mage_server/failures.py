"""End the log of a failed block with the reason in one sentence; Mage's own last line is a traceback."""

import functools
from typing import Any

from mage_ai.data_preparation.logging.logger import DictLogger

from workflows.common.errors import WorkflowError


def install() -> None:
    """Wrap how Mage logs exceptions."""
    original = DictLogger.exception

    @functools.wraps(original)
    def exception(self: DictLogger, message: str, **kwargs: Any) -> None:
        original(self, message, **kwargs)
        error = kwargs.pop("error", None)
        if isinstance(error, WorkflowError):
            self.error(str(error), **kwargs)

    DictLogger.exception = exception
