"""Decide about a request before Mage's handler sees it: pure functions of what was asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mage_server.security.hosts import AllowedHosts
from workflows.common.parsing import has_nul, strict_json

# What a handler gives access to, which decides who may use it.
Door = Literal["page", "api", "own_token", "events", "outputs", "editor", "terminal"]
WRITING_METHODS = ("POST", "PUT", "PATCH", "DELETE")
EVENT_RESOURCES = ("event", "events", "event_matcher", "event_matchers")
MAX_ID = 2**31 - 1


@dataclass(frozen=True)
class Refusal:
    """An answer in place of the handler's."""

    status: int
    message: str

    def body(self) -> dict[str, Any]:
        """Return the JSON body, in the form of Mage's errors."""
        return {"error": {"code": self.status, "message": self.message, "errors": []}}


NOT_FOUND = Refusal(404, "This path does not exist")
UNAUTHORIZED = Refusal(401, "Sign in first")


@dataclass(frozen=True)
class Asked:
    """What is known of a request before its handler runs.

    Attributes:
        door: What the handler gives access to.
        method: HTTP method.
        host: The `Host` header.
        origin: The `Origin` header.
    """

    door: Door
    method: str
    host: str | None
    origin: str | None


def refuse_by_headers(asked: Asked, hosts: AllowedHosts) -> Refusal | None:
    """Refuse another host's name, and writes and sockets of another site's page."""
    if not hosts.allows(asked.host):
        return Refusal(403, "This host name is not allowed; list it in ALLOWED_HOSTS")
    # Pages of other sites cannot know the token, so that they may call like any other program.
    needs_own_origin = asked.door != "own_token" and (
        asked.method in WRITING_METHODS or asked.door in ("editor", "terminal")
    )
    if needs_own_origin and asked.origin is not None and not hosts.is_own_origin(asked.origin, asked.host):
        return Refusal(403, "Requests of other sites' pages are not allowed; list your own names in ALLOWED_HOSTS")
    return None


def refuse_by_user(asked: Asked, needs_sign_in: bool, is_signed_in: bool, may_edit: bool) -> Refusal | None:
    """Refuse what only signed-in users may reach and Mage does not ask for.

    Args:
        asked: The request.
        needs_sign_in: Whether the server requires authentication.
        is_signed_in: Whether the request holds the token of a user.
        may_edit: Whether this user may edit pipelines.
    """
    if asked.door == "events":
        # Nothing in Mage's UI uses these, so that they are closed even where nobody has to sign in.
        return None if may_edit else NOT_FOUND
    if not needs_sign_in:
        return None
    if asked.door == "terminal":
        return None if may_edit else UNAUTHORIZED
    if asked.door == "outputs":
        return None if is_signed_in else UNAUTHORIZED
    # A page connects before it has sent its token; what is no page can send it at once.
    if asked.door == "editor" and asked.origin is None and not is_signed_in:
        return UNAUTHORIZED
    return None


def refuse_trigger_call(path_arguments: Mapping[str, Any], body: bytes) -> Refusal | None:
    """Refuse a call of an API trigger that Mage would answer with a trace."""
    schedule = str(path_arguments.get("pipeline_schedule_id"))
    if not (schedule.isascii() and schedule.isdigit() and int(schedule) <= MAX_ID):
        return Refusal(404, "There is no such trigger")
    if not body:
        return None
    try:
        payload = strict_json(body.decode("utf-8"))
        holds_nul = has_nul(payload)
    except (ValueError, RecursionError):
        return Refusal(400, "The body is not valid JSON")
    if not isinstance(payload, dict) or not isinstance(payload.get("pipeline_run", {}), dict):
        return Refusal(400, 'The body must have the form {"pipeline_run": {...}}')
    if holds_nul:
        return Refusal(400, "The body contains the character NUL")
    return None
