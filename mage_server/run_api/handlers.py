"""The addresses below `/api/runs`."""

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
    from_exception,
    internal,
    method_not_allowed,
    not_found,
)
from mage_server.run_api.request import parse_body
from mage_server.run_api.service import RunService
from mage_server.run_api.trigger_tokens import bearer_token

logger = logging.getLogger(__name__)

VERSION = "1.0.0"
# A refused body is read to its end and dropped, so that the client reads the answer instead of a reset
# connection; beyond this the connection is closed.
DROPPED_BYTES = 16 * 1024 * 1024


@tornado.web.stream_request_body
class Handler(tornado.web.RequestHandler):
    """What all addresses share: answers in JSON, limits of the body, no token in any log."""

    allowed_methods: tuple[str, ...] = ("GET",)
    service: RunService

    def initialize(self, service: RunService, prefix: str = "") -> None:
        """Take what the route gives."""
        self.service = service
        self.prefix = prefix
        self.request_id = uuid4().hex
        self.refusal: ApiError | None = None
        self._body = bytearray()
        self._received = 0

    def set_default_headers(self) -> None:
        """As Mage's own handlers."""
        self.set_header("Access-Control-Allow-Headers", "*")
        self.set_header("Access-Control-Allow-Methods", ", ".join((*self.allowed_methods, "OPTIONS")))
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Content-Type", "application/json")
        self.set_header("X-Content-Type-Options", "nosniff")

    async def prepare(self) -> None:
        """Decide before the body is read whether it is worth reading."""
        connection: Any = self.request.connection
        connection.set_body_timeout(self.service.settings.run_api_body_timeout_seconds)
        # Beyond the limit this class answers itself; see `data_received`.
        connection.set_max_body_size(2**62)
        if self.request.method not in (*self.allowed_methods, "OPTIONS"):
            self.refusal = method_not_allowed(str(self.request.method), ", ".join(self.allowed_methods))
        elif self.request.method != "OPTIONS":
            try:
                await self.check()
            except ApiError as error:
                self.refusal = error
        limit = self.service.settings.run_api_max_body_bytes
        length = self._content_length()
        if length > limit:
            self.refusal = self.refusal or body_too_large(limit)
        if self.refusal and (length > DROPPED_BYTES or self.request.headers.get("Expect")):
            self.refuse(self.refusal)

    async def check(self) -> None:
        """Refuse what the headers alone show; raises ApiError."""

    def data_received(self, chunk: bytes) -> None:
        """Keep the body up to its limit."""
        self._received += len(chunk)
        limit = self.service.settings.run_api_max_body_bytes
        if self._received > limit:
            self.refusal = self.refusal or body_too_large(limit)
        if self.refusal is None:
            self._body += chunk
            return
        self._body.clear()
        if self._received > DROPPED_BYTES and not self._finished:
            self.refuse(self.refusal)

    async def _answer(self) -> None:
        if self.refusal:
            self.refuse(self.refusal)
            return
        try:
            await self.answer()
        except ApiError as error:
            self.refuse(error)

    async def answer(self) -> None:
        """Answer a request that nothing speaks against."""
        raise not_found("There is nothing at this address")

    async def get(self, **_: str) -> None:
        """Answer."""
        await self._answer()

    async def post(self, **_: str) -> None:
        """Answer."""
        await self._answer()

    head = put = patch = delete = get

    def options(self, **_: str) -> None:
        """Answer a browser that asks before it sends a token to another origin."""
        self.set_status(204)
        self.clear_header("Content-Type")
        self.finish()

    def refuse(self, error: ApiError) -> None:
        """Answer an error."""
        self.set_status(error.status)
        for name, value in error.headers.items():
            self.set_header(name, value)
        self.set_header("X-Request-Id", self.request_id)
        self.finish(json.dumps(error.body(self.request_id)))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer what tornado itself refuses, and what nobody foresaw."""
        caught = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(caught, ApiError):
            error = caught
        elif status_code == 405:
            error = method_not_allowed(str(self.request.method), ", ".join(self.allowed_methods))
        elif status_code == 404:
            error = not_found("There is nothing at this address")
        elif 400 <= status_code < 500 or isinstance(caught, HTTPInputError):
            error = bad_request("The request cannot be read")
        else:
            error = from_exception(caught) if caught else internal()
        self.refuse(error)

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log under the request id; tornado would print the address, and with it the token."""
        if isinstance(value, tornado.web.HTTPError | ApiError):
            return
        logger.error("Request %s failed", self.request_id, exc_info=(typ, value, tb) if typ and value else None)

    def _request_summary(self) -> str:
        """For the access log: the route, never the token in the path."""
        return f"{self.request.method} {self.name()} {self.request_id} ({self.request.remote_ip})"

    def name(self) -> str:
        """The address as the access log shows it."""
        return "/api/runs/…"

    def _content_length(self) -> int:
        text = self.request.headers.get("Content-Length", "0")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


class RunHandler(Handler):
    """`POST /api/runs` and `POST /api/runs/TOKEN`."""

    allowed_methods = ("POST",)
    _job: Any = None

    async def check(self) -> None:
        """A body without a valid token is not kept."""
        token = self.path_kwargs.get("token") or bearer_token(self.request.headers.get("Authorization"))
        self._own = await self.service.triggers_of(token)

    async def answer(self) -> None:
        """Call the block."""
        request = parse_body(bytes(self._body))
        self._body.clear()
        trigger = await self.service.authorize(self._own, request.pipeline_uuid)
        self._job = self.service.submit(request, trigger, self.request_id)
        try:
            body = await self.service.result(self._job)
        except asyncio.CancelledError:
            # The client has gone.
            return
        self.set_header("X-Request-Id", self.request_id)
        self.finish(body)

    def on_connection_close(self) -> None:
        """The client has gone: a call that still waits in the queue is dropped."""
        super().on_connection_close()
        if self._job is not None:
            self.service.abandon(self._job)

    def name(self) -> str:
        """Without the token."""
        return "/api/runs/[token]" if "token" in self.path_kwargs else "/api/runs"


class SchemaHandler(Handler):
    """`GET /api/runs/schema/PIPELINE/BLOCK`."""

    async def answer(self) -> None:
        """Answer the schema of the block's variables."""
        pipeline, block = self.path_kwargs["pipeline"], self.path_kwargs["block"]
        await asyncio.get_running_loop().run_in_executor(None, self.service.blocks.find, pipeline, block)
        self.finish(json.dumps(schema.variables_schema(schema.registered(pipeline, block))))

    def name(self) -> str:
        """The route."""
        return "/api/runs/schema/…"


class OpenApiHandler(Handler):
    """`GET /api/runs/openapi.json`."""

    async def answer(self) -> None:
        """Answer the document."""
        self.finish(json.dumps(schema.openapi(VERSION, self.prefix)))

    def name(self) -> str:
        """The route."""
        return "/api/runs/openapi.json"


class LiveHandler(Handler):
    """`GET /api/runs/health/live`."""

    async def answer(self) -> None:
        """The event loop turns; nothing else is looked at."""
        self.finish(json.dumps({"status": "ok", "checks": {}}))

    def name(self) -> str:
        """The route."""
        return "/api/runs/health/live"


class ReadyHandler(Handler):
    """`GET /api/runs/health/ready`."""

    async def answer(self) -> None:
        """Look at the database and the model."""
        health = await asyncio.get_running_loop().run_in_executor(None, self.service.health)
        self.set_status(200 if health.is_ok else 503)
        self.finish(json.dumps({"status": "ok" if health.is_ok else "not_ready", "checks": health.checks}))

    def name(self) -> str:
        """The route."""
        return "/api/runs/health/ready"


class NothingHandler(Handler):
    """Any other address below `/api/runs`: it may hold a token, so Mage's handlers do not see it."""

    allowed_methods = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE")


def routes(service: RunService, prefix: str = "") -> list[Any]:
    """Return the routes, to be put before Mage's.

    Args:
        service: What answers.
        prefix: Path that the server's addresses begin with, without a slash at the end.
    """
    arguments = {"service": service, "prefix": prefix}
    base = f"{prefix}/api/runs"
    return [
        (rf"{base}/?", RunHandler, arguments),
        (rf"{base}/schema/(?P<pipeline>[^/]+)/(?P<block>.+)", SchemaHandler, arguments),
        (rf"{base}/openapi\.json", OpenApiHandler, arguments),
        (rf"{base}/health/live", LiveHandler, arguments),
        (rf"{base}/health/ready", ReadyHandler, arguments),
        (rf"{base}/(?P<token>[^/]+)/?", RunHandler, arguments),
        (rf"{base}/.*", NothingHandler, arguments),
    ]
