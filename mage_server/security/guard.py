"""Put a guard before every handler of Mage's web application.

The application makes all of its handlers in one place. There, each handler class gets a subclass that checks the
request first and cleans the answer: no handler of Mage has to be known by name, except those that need more.
"""

import inspect
from typing import Any, cast

from mage_ai.server.api.base import BaseHandler
from mage_ai.server.api.blocks import ApiPipelineBlockAnalysisHandler
from mage_ai.server.api.events import ApiEventHandler, ApiEventMatcherDetailHandler, ApiEventMatcherListHandler
from mage_ai.server.api.triggers import ApiTriggerPipelineHandler
from mage_ai.server.events.stream import EventStreamHandler
from mage_ai.server.terminal_server import TerminalWebsocketServer
from mage_ai.settings import DISABLE_TERMINAL, REQUIRE_USER_AUTHENTICATION
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from mage_server.run_api.handlers import ApiHandler
from mage_server.security import errors, websocket
from mage_server.security.doors import (
    EVENT_RESOURCES,
    NOT_FOUND,
    Asked,
    Door,
    Refusal,
    refuse_by_headers,
    refuse_by_user,
    refuse_trigger_call,
)
from mage_server.security.hosts import AllowedHosts
from mage_server.security.sign_in import client_address
from mage_server.security.users import current_headers, is_signed_in, may_edit, signed_in_user

HEADERS = {
    # Mage's pages show blocks' HTML in frames without an address, which these two do not concern.
    "Content-Security-Policy": "frame-ancestors 'self'; object-src 'none'; base-uri 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    # Paths may hold tokens, so that other sites get none. Mage's own pages still send it.
    "Referrer-Policy": "same-origin",
}
CROSS_ORIGIN_HEADERS = ("Access-Control-Allow-Origin", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods")
EVENT_HANDLERS = (ApiEventHandler, ApiEventMatcherDetailHandler, ApiEventMatcherListHandler)
OUTPUT_HANDLERS = (ApiPipelineBlockAnalysisHandler, EventStreamHandler)


def protect(app: Application, hosts: AllowedHosts) -> None:
    """Let an application make guarded handlers.

    Args:
        app: Mage's application, with the routes of this project.
        hosts: The hosts by which it may be reached.
    """
    original = app.get_handler_delegate
    guarded: dict[type[RequestHandler], type[RequestHandler]] = {}

    def get_handler_delegate(request: Any, target_class: type[RequestHandler], *args: Any, **kwargs: Any) -> Any:
        if target_class not in guarded:
            guarded[target_class] = _guarded(target_class, hosts)
        return original(request, guarded[target_class], *args, **kwargs)

    cast(Any, app).get_handler_delegate = get_handler_delegate


def _guarded(target: type[RequestHandler], hosts: AllowedHosts) -> type[RequestHandler]:
    bases: tuple[type, ...] = (Guard, target)
    if issubclass(target, websocket.WebSocketServer):
        bases = (Guard, websocket.EditorSocket, target)
    return type(target.__name__, bases, {"hosts": hosts, "__module__": target.__module__})


class Guard(RequestHandler):
    """Checks a request before its handler, and cleans the handler's errors."""

    hosts: AllowedHosts

    def set_default_headers(self) -> None:
        """Add the security headers. Only `/api/runs` is meant for pages of other sites."""
        super().set_default_headers()
        if not isinstance(self, ApiHandler):
            for name in CROSS_ORIGIN_HEADERS:
                self.clear_header(name)
        for name, value in HEADERS.items():
            self.set_header(name, value)

    async def prepare(self) -> None:
        """Refuse the request, or let the handler prepare."""
        if refusal := self._refusal():
            self.set_status(refusal.status)
            self.set_header("Content-Type", "application/json")
            RequestHandler.write(self, refusal.body())
            self.finish()
            return
        client_address.set(self.request.remote_ip or "")
        current_headers.set(self.request.headers)
        result: Any = super().prepare()
        if inspect.isawaitable(result):
            await result

    def write(self, chunk: Any) -> None:
        """Write a part of the answer; errors of Mage lose their traces."""
        if isinstance(self, BaseHandler) and isinstance(chunk, dict) and isinstance(chunk.get("error"), dict):
            error = errors.clean_error(chunk["error"])
            code = error.get("code")
            if isinstance(code, int) and self._answers_with_status():
                self.set_status(code)
                chunk = {**chunk, "status": code}
            chunk = {**chunk, "error": error}
        super().write(chunk)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an exception of one of Mage's handlers with a short error."""
        if not isinstance(self, BaseHandler):
            super().write_error(status_code, **kwargs)
            return
        exception = kwargs.get("exc_info", (None, None, None))[1]
        status = status_code if status_code != 500 else errors.status_of(exception)
        # Mage's UI shows the reason to its user; others find it in the log.
        has_reason = exception is not None and (status < 500 or is_signed_in())
        message = getattr(exception, "message", None) or exception if has_reason else errors.HIDDEN_REASON
        arguments = {name: value for name, value in self.path_kwargs.items() if name != "token"}
        self.set_header("Content-Type", "application/json")
        # Mage's own status of unexpected errors.
        self.set_status(200 if status_code == 500 else status_code)
        self.write({"error": {"code": status, "message": message}, "url_parameters": arguments})
        if not self._finished:
            self.finish()

    def _answers_with_status(self) -> bool:
        return self._door() in ("own_token", "events", "outputs") or not errors.is_from_browser(self.request.headers)

    def _refusal(self) -> Refusal | None:
        door, headers = self._door(), self.request.headers
        asked = Asked(door, str(self.request.method), headers.get("Host"), headers.get("Origin"))
        if refusal := refuse_by_headers(asked, self.hosts):
            return refusal
        if door == "terminal" and DISABLE_TERMINAL:
            return NOT_FOUND
        if isinstance(self, ApiTriggerPipelineHandler) and self.request.method == "POST":
            return refuse_trigger_call(self.path_kwargs, self.request.body)
        if door in ("page", "api", "own_token"):
            return None
        user = signed_in_user(headers)
        return refuse_by_user(asked, bool(REQUIRE_USER_AUTHENTICATION), user is not None, may_edit(user))

    def _door(self) -> Door:
        named = {self.path_kwargs.get("resource"), self.path_kwargs.get("child")}
        if isinstance(self, EVENT_HANDLERS) or named & set(EVENT_RESOURCES):
            return "events"
        if isinstance(self, TerminalWebsocketServer):
            return "terminal"
        if isinstance(self, WebSocketHandler):
            return "editor"
        if isinstance(self, OUTPUT_HANDLERS):
            return "outputs"
        if isinstance(self, ApiHandler | ApiTriggerPipelineHandler):
            return "own_token"
        return "api" if isinstance(self, BaseHandler) else "page"
