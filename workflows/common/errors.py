"""Errors that a caller may see: each message says what was wrong, where, and what to do.

`/api/runs` maps each class to an HTTP status; no message holds a secret.
"""

from collections.abc import Mapping

from workflows.common.redaction import redact, redacted


class WorkflowError(Exception):
    """Base of all errors raised on purpose."""

    def __init__(self, message: str):
        super().__init__(redact(message))


class InvalidInputError(WorkflowError):
    """Input from outside was refused.

    Args:
        message: What was refused, in a sentence.
        fields: Reason per wrong field, where single fields are at fault.
    """

    def __init__(self, message: str, fields: Mapping[str, str] | None = None):
        self.fields: dict[str, str] = redacted(dict(fields or {}))
        details = "; ".join(f"{name}: {reason}" for name, reason in self.fields.items())
        super().__init__(f"{message} ({details})" if details else message)


class NotReadyError(WorkflowError):
    """Something that another pipeline makes does not exist yet; the message names the pipeline to run."""


class ServiceError(WorkflowError):
    """A service outside this process (companies API, language model, Spark) failed or refused."""


class MissingAddressError(ServiceError):
    """A service answered 404: it has nothing at the address."""
