"""What a caller is told when a call does not succeed. Only this package knows HTTP statuses."""

from collections.abc import Mapping
from typing import Any

from workflows.common.errors import InvalidInputError, NotReadyError, ServiceError


class ApiError(Exception):
    """An answer other than 200.

    Args:
        status: HTTP status.
        kind: Short name for programs, in the body as `type`.
        message: One sentence for people; holds no secret and nothing of the server's inside.
        fields: Reason per wrong field.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body."""
        return {
            "error": {
                "code": self.status,
                "type": self.kind,
                "message": self.message,
                "request_id": request_id,
                "details": [{"field": name, "reason": reason} for name, reason in self.fields.items()],
            }
        }


def bad_request(message: str, fields: Mapping[str, str] | None = None) -> ApiError:
    """The body cannot be understood."""
    return ApiError(400, "bad_request", message, fields)


def unauthorized() -> ApiError:
    """No token, or one that nobody has: the two are not told apart."""
    message = "A token of an API trigger is needed: Authorization: Bearer TOKEN"
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


def forbidden(message: str) -> ApiError:
    """The token is known but does not allow this call."""
    return ApiError(403, "forbidden", message)


def not_found(message: str) -> ApiError:
    """There is no such pipeline, block or address."""
    return ApiError(404, "not_found", message)


def method_not_allowed(method: str, allowed: str) -> ApiError:
    """The address exists, for other methods."""
    return ApiError(405, "method_not_allowed", f"{method[:20]} is not allowed here", headers={"Allow": allowed})


def body_too_large(limit: int) -> ApiError:
    """The body is over the limit."""
    return ApiError(413, "body_too_large", f"The body is larger than {limit:,} bytes")


def invalid_variables(message: str, fields: Mapping[str, str]) -> ApiError:
    """The variables were refused."""
    return ApiError(422, "invalid_variables", message, fields)


def too_many_calls(retry_after_seconds: int) -> ApiError:
    """All workers are busy and the queue is full."""
    headers = {"Retry-After": str(retry_after_seconds)}
    return ApiError(429, "too_many_calls", "Too many calls are under way; try again later", headers=headers)


def timed_out(seconds: float) -> ApiError:
    """The block did not end in time."""
    return ApiError(504, "timeout", f"The block did not end within {seconds:g} s")


def unavailable(message: str) -> ApiError:
    """The server stops, or its database cannot be reached."""
    return ApiError(503, "unavailable", message, headers={"Retry-After": "5"})


def internal() -> ApiError:
    """Anything else: the reason is in the log alone."""
    return ApiError(500, "internal_error", "The block failed; the reason is in the server's log under this request id")


def from_exception(error: BaseException) -> ApiError:
    """Return the answer for what a block, or the way to it, has raised."""
    match error:
        case ApiError():
            return error
        case InvalidInputError():
            return invalid_variables(str(error), error.fields)
        case NotReadyError():
            return ApiError(409, "not_ready", str(error))
        case ServiceError():
            return ApiError(502, "service_failed", str(error))
        case _:
            return internal()
