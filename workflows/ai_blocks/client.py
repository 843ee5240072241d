"""Call any server that speaks the OpenAI protocol: time limits, retries, limits shared by all processes."""

import asyncio
import email.utils
import json
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import httpx
import openai

from workflows.ai_blocks.completions import Completion, read_completion
from workflows.ai_blocks.limits import CallLimits
from workflows.ai_blocks.local_model import LLM_SERVER, local_model_identity, local_model_name
from workflows.ai_blocks.prompts import Message
from workflows.ai_blocks.request_options import RequestOptions
from workflows.common.errors import ServiceError
from workflows.common.local_services import ensure_service
from workflows.common.redaction import redact
from workflows.common.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")
OPENAI_BASE_URL = "https://api.openai.com/v1"
# By the openai package, which honours Retry-After.
MAX_RETRIES = 4
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0
MAX_MODELS_LISTED = 20
MAX_ERROR_CHARACTERS = 500
PROBE_SECONDS = 30.0

_TOO_LARGE = re.compile(
    r"context[ _](?:length|size|window)|too many tokens|(?:prompt|input) is too long|reduce the length|"
    r"max_(?:completion_|output_|new_)?tokens\b.{0,60}?"
    r"(?:too (?:large|high|big|many)|above max|must be less|less than or equal|<=|\d > \d|valid range)|"
    r"at most \d+ (?:completion|output) tokens|maximum allowed number of output tokens",
    re.IGNORECASE,
)
_MODEL_MISSING = re.compile(
    r"\bmodel\b.*\b(?:not exist|not found|not available|unknown)\b|not have access to (?:the )?model", re.IGNORECASE
)
# What this process has learned of servers; one that refuses one schema may take others.
_LEARNED_OPTIONS: dict[str, RequestOptions] = {}


class RequestTooLargeError(ServiceError):
    """The conversation does not fit into the model's context, or `max_tokens` is larger than the model allows."""


class LanguageModel(Protocol):
    """What the AI blocks need of a model."""

    @property
    def identity(self) -> str:
        """Which model this is, and where: another one gives other answers."""
        ...

    @property
    def max_attempts(self) -> int | None:
        """How often it is asked for an answer at most; None is as often as the prompt file says."""
        ...

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        """Answer a conversation with JSON that fits the schema, as far as the server can be told to.

        Raises:
            RequestTooLargeError: a shorter conversation, or one with a smaller `max_tokens`, may be answered.
            ServiceError: the server could not be reached, or refused.
        """
        ...


class OpenAIModel:
    """A model behind the OpenAI protocol.

    Args:
        settings: Server, key, model and limits.
        max_retries: Of connection errors, timeouts, 408, 409 and 5xx.
        clock: Seconds since 1970; replaced in tests.
        sleep: Waits the given number of seconds; replaced in tests.
    """

    def __init__(
        self,
        settings: Settings,
        max_retries: int = MAX_RETRIES,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._settings = settings
        self._max_retries = max_retries
        self._limits = CallLimits(
            settings.llm_dir / "limits",
            settings.max_llm_calls_at_once,
            settings.max_llm_calls_per_minute,
            settings.llm_wait_seconds,
            clock=clock,
            sleep=sleep,
        )

    @property
    def identity(self) -> str:
        """Server and model; see `LanguageModel.identity`."""
        settings = self._settings
        if settings.uses_local_llm:
            return f"local {local_model_identity(settings)}"
        extra = json.dumps(settings.llm_extra_parameters, sort_keys=True)
        return f"{public_address(settings)} {settings.openai_api_version} {settings.llm_model} {extra}"

    @property
    def max_attempts(self) -> int | None:
        """See `LanguageModel.max_attempts`."""
        settings = self._settings
        is_bundled = settings.uses_local_llm and settings.local_model_path is None
        # Of 88 answers of the bundled model that were refused, one was accepted when it was asked again.
        return settings.llm_max_attempts or (1 if is_bundled else None)

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        """Answer a conversation; see `LanguageModel.complete`.

        One request with its retries takes at most `LLM_BUDGET_SECONDS`. A 429 pauses the calls of all processes and is
        no failure as long as `LLM_WAIT_SECONDS` allow. What a server refuses of the request's form (JSON Schema,
        temperature, `max_tokens`) is changed or left out.
        """
        key = f"{self.identity} {json.dumps(schema, sort_keys=True)}"
        options = _LEARNED_OPTIONS.get(key, RequestOptions())
        waits_until = self._limits.deadline()
        pauses = 0
        while True:
            with self._limits.place(waits_until):
                try:
                    request = options.request(messages, schema, max_tokens, temperature)
                    completion = self._send(request)
                    _LEARNED_OPTIONS[key] = options
                    return completion
                except openai.APIError as caught:
                    error = caught
            status, reason = _status(error), _server_message(error)
            not_understood = status in (400, 422)
            if not_understood and (error.code == "context_length_exceeded" or _TOO_LARGE.search(reason)):
                raise RequestTooLargeError(self._explain(error)) from None
            is_missing = status in (400, 422, 403) and _MODEL_MISSING.search(reason)
            if is_missing or status == 404 or error.code == "model_not_found":
                raise ServiceError(f"{self._explain(error)}{self._call(_offered_models)}") from None
            adapted = options.adapted(f"{reason} {error.param or ''}") if not_understood else None
            if adapted is not None and error.code != "content_filter":
                options = adapted
            # A quota that is used up does not come back by waiting.
            elif isinstance(error, openai.RateLimitError) and error.code != "insufficient_quota":
                pauses += 1
                seconds = _pause_seconds(error.response.headers, pauses)
                if not self._limits.pause(seconds, waits_until):
                    limit = f"waiting longer than {self._settings.llm_wait_seconds:g} s (LLM_WAIT_SECONDS)"
                    raise ServiceError(f"{self._explain(error)}; it would mean {limit}") from None
                logger.warning("%s; all calls pause for %.1f s", self._explain(error), seconds)
            else:
                raise ServiceError(self._explain(error)) from None

    def _send(self, request: dict[str, Any]) -> Completion:
        settings = self._settings

        async def send(client: openai.AsyncOpenAI) -> httpx.Response:
            raw = await client.chat.completions.with_raw_response.create(
                model=model_name(settings), extra_body=settings.llm_extra_parameters, **request
            )
            return raw.http_response

        response = self._call(send)
        body = _json_body(response) or {}
        if not body.get("choices") and body.get("error"):
            raise openai.APIStatusError(str(body["error"]), response=response, body=body["error"])
        if not isinstance(body.get("choices"), list):
            where = public_address(settings)
            raise ServiceError(f"{where} does not answer as the OpenAI protocol says; check OPENAI_BASE_URL")
        return read_completion(body, model_name(settings), response.extensions["seconds"])

    def _call(self, call: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
        """Make a call with a client of the configured server, and end it when its time is over.

        Raises:
            openai.APIError: the call failed, or took too long.
            ServiceError: the settings name no server or no model.
        """
        settings = self._settings
        # Asked before each call: a local server that ended while idle is started again.
        local_url = f"{ensure_service(LLM_SERVER)}/v1" if settings.uses_local_llm else None

        async def run() -> T:
            # A proxy that the environment names cannot reach this machine's own addresses.
            async with _TimedClient(settings.llm_timeout_seconds, trust_env=local_url is None) as http:
                client = self._client(http, local_url)
                if settings.llm_model is None and local_url is None:
                    offered = await _offered_models(client)
                    raise ServiceError(f"LLM_MODEL is not set: name the model of the configured server{offered}")
                try:
                    return await asyncio.wait_for(call(client), settings.llm_budget_seconds)
                except TimeoutError:
                    limit = f"{settings.llm_budget_seconds:g} s (LLM_BUDGET_SECONDS)"
                except openai.APITimeoutError:
                    limit = f"{settings.llm_timeout_seconds:g} s (LLM_TIMEOUT_SECONDS)"
                request = httpx.Request("POST", client.base_url)
                raise openai.APIConnectionError(message=f"no answer within {limit}", request=request) from None

        # A thread of its own: the calling thread may run an event loop, as the kernel of Mage's editor does.
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(asyncio.run, run()).result()

    def _client(self, http: httpx.AsyncClient, local_url: str | None) -> openai.AsyncOpenAI:
        settings = self._settings
        if local_url is None and settings.openai_base_url is None:
            if settings.openai_api_version is not None:
                address = "https://NAME.openai.azure.com"
                raise ServiceError(f"OPENAI_API_VERSION is for Azure OpenAI: set OPENAI_BASE_URL to {address}")
            if settings.openai_api_key is None:
                raise ServiceError(
                    "LLM_MODEL is set but no server: set OPENAI_API_KEY for OpenAI, or OPENAI_BASE_URL for another "
                    "server; a file for the local server goes into LOCAL_MODEL_PATH"
                )
        # Local servers need no key, but the protocol's header has to hold something.
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key and not local_url else "none"
        options: dict[str, Any] = {"api_key": key, "max_retries": self._max_retries, "http_client": http}
        base_url = local_url or settings.openai_base_url or OPENAI_BASE_URL
        try:
            if settings.openai_api_version is None or local_url:
                return openai.AsyncOpenAI(base_url=base_url, **options)
            options |= {"azure_deployment": settings.llm_model, "api_version": settings.openai_api_version}
            return openai.AsyncAzureOpenAI(azure_endpoint=base_url.rstrip("/"), **options)
        except httpx.InvalidURL:
            # Its own message may hold a part of a password.
            raise ServiceError(f"OPENAI_BASE_URL is not an address: {public_address(settings)}") from None

    def _explain(self, error: openai.APIError) -> str:
        """Say in a line what failed and where, never with the key."""
        settings, reason, status = self._settings, _server_message(error), _status(error)
        if status == 401:
            reason = "401, the key was refused; check OPENAI_API_KEY"
        elif status == 403:
            reason = f"403, {reason}; check OPENAI_API_KEY and what it may use"
        elif status is not None:
            reason = f"{status}, {reason}"
        line = " ".join(f"The language model {describe_model(settings)} failed: {reason}".split())
        # Before it is cut, so that no part of a secret is left.
        return redact(line)[:MAX_ERROR_CHARACTERS]


class _TimedClient(openai.DefaultAsyncHttpxClient):
    """Limits the time of a whole request, its body included; httpx limits only the wait for the next piece."""

    def __init__(self, seconds: float, **options: Any):
        super().__init__(timeout=None, **options)
        self._seconds = seconds

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                response = await super().send(request, **options)
                await response.aread()
        except TimeoutError:
            raise httpx.ReadTimeout("no whole answer in time", request=request) from None
        response.extensions["seconds"] = time.monotonic() - started
        if response.is_success:
            body = _json_body(response)
            if body is None and "json" in response.headers.get("content-type", ""):
                raise httpx.ReadError("the answer broke off", request=request)
            # Gateways answer 200 before they have called the model.
            error = body.get("error") if body and not body.get("choices") else None
            code = str(error.get("code")) if isinstance(error, Mapping) else ""
            response.status_code = int(code) if re.fullmatch(r"[45]\d\d", code) else response.status_code
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            # Not retried by the openai package but after a pause of all processes, see `OpenAIModel.complete`.
            response.headers["x-should-retry"] = "false"
        return response


def model_name(settings: Settings) -> str:
    """Return the name of the model that the settings choose."""
    return settings.llm_model or local_model_name(settings)


def describe_model(settings: Settings) -> str:
    """Return model and server in words, without secrets."""
    return f"{model_name(settings)} ({'local server' if settings.uses_local_llm else public_address(settings)})"


def probe(settings: Settings) -> str | None:
    """Ask the configured model one short question; return None if it answers, else the reason in one line."""
    limits = dict.fromkeys(("llm_timeout_seconds", "llm_budget_seconds", "llm_wait_seconds"), PROBE_SECONDS)
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    messages = [{"role": "system", "content": "Answer as JSON."}, {"role": "user", "content": "Say hello."}]
    try:
        completion = OpenAIModel(settings.model_copy(update=limits), max_retries=0).complete(messages, schema, 32, 0.0)
    except ServiceError as error:
        return str(error)
    return None if completion.text.strip() else f"The language model {describe_model(settings)} answered nothing"


def public_address(settings: Settings) -> str:
    """Return the configured server's address without user, password and query, for messages and logs."""
    address = settings.openai_base_url or OPENAI_BASE_URL
    # Up to the last @: a password may contain one that is not escaped.
    return re.split(r"[?#]", re.sub(r"(?<=//).*@", "", address))[0]


def _json_body(response: httpx.Response) -> Mapping[str, Any] | None:
    """Return the body of an answer, empty where it is JSON but no object, None where it is no JSON."""
    try:
        body = json.loads(response.content)
    except ValueError:
        return None
    return body if isinstance(body, Mapping) else {}


def _status(error: openai.APIError) -> int | None:
    return error.status_code if isinstance(error, openai.APIStatusError) else None


def _server_message(error: openai.APIError) -> str:
    message = error.body.get("message") if isinstance(error.body, Mapping) else None
    return message if isinstance(message, str) else error.message


def _pause_seconds(headers: httpx.Headers, pauses: int) -> float:
    """Return how long to pause: what the server asks for (RFC 9110: seconds or a date), and longer each time."""
    growing = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(pauses - 1, 10)) * random.uniform(0.75, 1.25)
    value = headers.get("retry-after", "")
    try:
        return max(growing, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return growing
    return max(growing, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


async def _offered_models(client: openai.AsyncOpenAI) -> str:
    """Name the models that a server offers, where it tells."""
    try:
        names = sorted([model.id async for model in client.models.list()])
    except (openai.APIError, AttributeError, TypeError, ValueError):
        return ""
    shown = ", ".join(names[:MAX_MODELS_LISTED]) + (", ..." if len(names) > MAX_MODELS_LISTED else "")
    return f"; the server offers: {shown}" if names else ""
