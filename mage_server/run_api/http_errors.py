"""Error responses of the API. Only this package uses HTTP status codes."""

from collections.abc import Mapping
from typing import Any

from workflows.common.errors import InvalidInputError, NotReadyError, ServiceError


class ApiError(Exception):
    """An error response.

    Args:
        status: HTTP status code.
        kind: Machine-readable name of the error, returned as `type`.
        message: One sentence for the caller. Holds no secret and no detail of the server's code.
        fields: Reason by name of each invalid field.
        headers: Additional response headers.
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
        """Return the JSON body of the response."""
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
    """400: the body cannot be parsed, or has invalid fields."""
    return ApiError(400, "bad_request", message, fields)


def unauthorized() -> ApiError:
    """401: the token is missing or unknown. Both get the same response."""
    message = "Send the token of an API trigger in the header: Authorization: Bearer TOKEN"
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


def forbidden(message: str) -> ApiError:
    """403: the token is valid but does not allow this call."""
    return ApiError(403, "forbidden", message)


def not_found(message: str) -> ApiError:
    """404: the pipeline, block or path does not exist."""
    return ApiError(404, "not_found", message)


def method_not_allowed(method: str, allowed: str) -> ApiError:
    """405: the path exists, but not for this method."""
    message = f"Method {method[:20]} is not allowed here; use {allowed}"
    return ApiError(405, "method_not_allowed", message, headers={"Allow": allowed})


def body_too_large(limit: int) -> ApiError:
    """413: the body exceeds the size limit."""
    return ApiError(413, "body_too_large", f"The body is larger than {limit:,} bytes")


def invalid_variables(message: str, fields: Mapping[str, str]) -> ApiError:
    """422: the variables are invalid."""
    return ApiError(422, "invalid_variables", message, fields)


def too_many_calls(retry_after_seconds: int) -> ApiError:
    """429: all workers are busy and the queue is full."""
    headers = {"Retry-After": str(retry_after_seconds)}
    return ApiError(429, "too_many_calls", "Too many calls are running or waiting; retry later", headers=headers)


def timed_out(seconds: float) -> ApiError:
    """504: the block did not finish within the time limit."""
    return ApiError(504, "timeout", f"The block did not finish within {seconds:g} s")


def unavailable(message: str) -> ApiError:
    """503: the server is shutting down, or its database is unreachable."""
    return ApiError(503, "unavailable", message, headers={"Retry-After": "5"})


def internal_error() -> ApiError:
    """500: any other error. Only the server's log has the reason."""
    return ApiError(500, "internal_error", "The block failed; search the server's log for this request id")


def to_api_error(error: BaseException) -> ApiError:
    """Return the response for an exception raised by a block or while it was prepared."""
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
            return internal_error()
