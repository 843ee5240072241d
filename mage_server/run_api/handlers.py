"""HTTP handlers of `/api/runs` and the paths below it."""

import asyncio
import json
import logging
from types import TracebackType
from typing import Any
from uuid import uuid4

import tornado.web
from tornado.httputil import HTTPInputError

from mage_server.run_api import schema
from mage_server.run_api.http_errors import (
    ApiError,
    bad_request,
    body_too_large,
    internal_error,
    method_not_allowed,
    not_found,
    to_api_error,
)
from mage_server.run_api.request import parse_body
from mage_server.run_api.service import RunService
from mage_server.run_api.trigger_tokens import bearer_token

logger = logging.getLogger(__name__)

API_VERSION = "1.0.0"
# A rejected body up to this size is read and discarded, so that the client receives the error response instead of a
# connection reset. A larger body closes the connection.
MAX_DISCARDED_BYTES = 16 * 1024 * 1024


@tornado.web.stream_request_body
class ApiHandler(tornado.web.RequestHandler):
    """Base class of all handlers: JSON responses, body limits, and no tokens in logs.

    Attributes:
        allowed_methods: HTTP methods of the path; OPTIONS is always allowed.
        log_path: Path shown in the access log. It holds no text from the caller.
    """

    allowed_methods: tuple[str, ...] = ("GET",)
    log_path = "/api/runs/..."
    service: RunService

    def initialize(self, service: RunService, prefix: str = "") -> None:
        """Set the arguments of the route."""
        self.service = service
        self.prefix = prefix
        self.request_id = uuid4().hex
        self.error: ApiError | None = None
        self._body = bytearray()
        self._received = 0

    def set_default_headers(self) -> None:
        """Set the headers that Mage's own handlers set."""
        self.set_header("Access-Control-Allow-Headers", "*")
        self.set_header("Access-Control-Allow-Methods", ", ".join((*self.allowed_methods, "OPTIONS")))
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Content-Type", "application/json")
        self.set_header("X-Content-Type-Options", "nosniff")

    async def prepare(self) -> None:
        """Check method, headers and body length before the body is read."""
        connection: Any = self.request.connection
        connection.set_body_timeout(self.service.settings.run_api_body_timeout_seconds)
        # `data_received` enforces the limit, so that the client receives a 413 response.
        connection.set_max_body_size(2**62)
        if self.request.method not in (*self.allowed_methods, "OPTIONS"):
            self.error = self._method_not_allowed()
        elif self.request.method != "OPTIONS":
            try:
                await self.check_headers()
            except ApiError as error:
                self.error = error
        limit = self.service.settings.run_api_max_body_bytes
        length = self._content_length()
        if length > limit:
            self.error = self.error or body_too_large(limit)
        if self.error and (length > MAX_DISCARDED_BYTES or self.request.headers.get("Expect")):
            self.send_api_error(self.error)

    async def check_headers(self) -> None:
        """Raise ApiError if the headers alone show that the request is not allowed."""

    def data_received(self, chunk: bytes) -> None:
        """Keep the body up to the size limit; discard it after an error."""
        self._received += len(chunk)
        limit = self.service.settings.run_api_max_body_bytes
        if self._received > limit:
            self.error = self.error or body_too_large(limit)
        if self.error is None:
            self._body += chunk
            return
        self._body.clear()
        if self._received > MAX_DISCARDED_BYTES and not self._finished:
            self.send_api_error(self.error)

    async def respond(self) -> None:
        """Send the response. Raises ApiError to send an error instead."""
        raise not_found("This path does not exist")

    async def get(self, **_: str) -> None:
        """Send the response, or the error found so far."""
        try:
            if self.error:
                raise self.error
            await self.respond()
        except ApiError as error:
            self.send_api_error(error)

    head = post = put = patch = delete = get

    def options(self, **_: str) -> None:
        """Answer a browser's preflight request for a call from another origin."""
        self.set_status(204)
        self.clear_header("Content-Type")
        self.finish()

    def send_api_error(self, error: ApiError) -> None:
        """Send an error response."""
        self.set_status(error.status)
        for name, value in error.headers.items():
            self.set_header(name, value)
        self.set_header("X-Request-Id", self.request_id)
        self.finish(json.dumps(error.body(self.request_id)))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send an error response for requests that tornado rejects and for unexpected exceptions."""
        exception = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(exception, ApiError):
            error = exception
        elif status_code == 405:
            error = self._method_not_allowed()
        elif status_code == 404:
            error = not_found("This path does not exist")
        elif 400 <= status_code < 500 or isinstance(exception, HTTPInputError):
            error = bad_request("The request is not valid HTTP")
        else:
            error = to_api_error(exception) if exception else internal_error()
        self.send_api_error(error)

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log the exception under the request id. Tornado would log the URL, which may hold a token."""
        if isinstance(value, tornado.web.HTTPError | ApiError):
            return
        logger.error("Request %s failed", self.request_id, exc_info=(typ, value, tb) if typ and value else None)

    def _request_summary(self) -> str:
        """Return the line for the access log, with `log_path` in place of the URL."""
        return f"{self.request.method} {self.log_path} {self.request_id} ({self.request.remote_ip})"

    def _method_not_allowed(self) -> ApiError:
        return method_not_allowed(str(self.request.method), ", ".join(self.allowed_methods))

    def _content_length(self) -> int:
        text = self.request.headers.get("Content-Length", "0")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


class RunHandler(ApiHandler):
    """`POST /api/runs`."""

    allowed_methods = ("POST",)
    log_path = "/api/runs"
    _job: Any = None

    async def check_headers(self) -> None:
        """Check the token before the body is kept in memory."""
        token = self.path_kwargs.get("token") or bearer_token(self.request.headers.get("Authorization"))
        self._triggers = await self.service.authenticate(token)

    async def respond(self) -> None:
        """Run the block and send its outputs."""
        request = parse_body(bytes(self._body))
        self._body.clear()
        trigger = await self.service.authorize(self._triggers, request.pipeline_uuid)
        self._job = self.service.submit(request, trigger, self.request_id)
        try:
            body = await self.service.response_body(self._job)
        except asyncio.CancelledError:
            # The client has disconnected.
            return
        self.set_header("X-Request-Id", self.request_id)
        self.finish(body)

    def on_connection_close(self) -> None:
        """Cancel the call if it still waits in the queue: the client has disconnected."""
        super().on_connection_close()
        if self._job is not None:
            self.service.cancel(self._job)


class RunWithTokenHandler(RunHandler):
    """`POST /api/runs/TOKEN`."""

    log_path = "/api/runs/[token]"


class SchemaHandler(ApiHandler):
    """`GET /api/runs/schema/PIPELINE/BLOCK`."""

    log_path = "/api/runs/schema/..."

    async def respond(self) -> None:
        """Send the JSON Schema of the block's variables."""
        pipeline, block = self.path_kwargs["pipeline"], self.path_kwargs["block"]
        await asyncio.get_running_loop().run_in_executor(None, self.service.blocks.find, pipeline, block)
        self.finish(json.dumps(schema.variables_schema(schema.find_callable_block(pipeline, block))))


class OpenApiHandler(ApiHandler):
    """`GET /api/runs/openapi.json`."""

    log_path = "/api/runs/openapi.json"

    async def respond(self) -> None:
        """Send the OpenAPI document."""
        self.finish(json.dumps(schema.openapi_document(API_VERSION, self.prefix)))


class LivenessHandler(ApiHandler):
    """`GET /api/runs/health/live`."""

    log_path = "/api/runs/health/live"

    async def respond(self) -> None:
        """Send 200: the event loop runs. Nothing else is checked."""
        self.finish(json.dumps({"status": "ok", "checks": {}}))


class ReadinessHandler(ApiHandler):
    """`GET /api/runs/health/ready`."""

    log_path = "/api/runs/health/ready"

    async def respond(self) -> None:
        """Send 200 if the database is reachable and the model is loaded, else 503."""
        health = await asyncio.get_running_loop().run_in_executor(None, self.service.health)
        self.set_status(200 if health.is_ok else 503)
        self.finish(json.dumps({"status": "ok" if health.is_ok else "not_ready", "checks": health.checks}))


class UnknownPathHandler(ApiHandler):
    """All other paths below `/api/runs`. They may hold a token, so Mage's handlers, which log URLs, do not get them."""

    allowed_methods = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE")


def routes(service: RunService, prefix: str = "") -> list[Any]:
    """Return the routes, which go before Mage's own routes.

    Args:
        service: Runs the calls.
        prefix: Path before `/api/runs`, without a slash at its end.
    """
    arguments = {"service": service, "prefix": prefix}
    base = f"{prefix}/api/runs"
    return [
        (rf"{base}/?", RunHandler, arguments),
        (rf"{base}/schema/(?P<pipeline>[^/]+)/(?P<block>.+)", SchemaHandler, arguments),
        (rf"{base}/openapi\.json", OpenApiHandler, arguments),
        (rf"{base}/health/live", LivenessHandler, arguments),
        (rf"{base}/health/ready", ReadinessHandler, arguments),
        (rf"{base}/(?P<token>[^/]+)/?", RunWithTokenHandler, arguments),
        (rf"{base}/.*", UnknownPathHandler, arguments),
    ]
