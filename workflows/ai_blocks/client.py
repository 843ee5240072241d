"""Call any server that speaks the OpenAI protocol: time limits, retries, limits shared by all processes."""

import asyncio
import contextlib
import email.utils
import functools
import json
import logging
import random
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from workflows.ai_blocks.completions import Completion, at, read_completion
from workflows.ai_blocks.limits import CallLimits
from workflows.ai_blocks.prompts import Message
from workflows.ai_blocks.request_options import RequestOptions
from workflows.common.errors import ServiceError
from workflows.common.local_services import ensure_service, service_key
from workflows.common.proxies import through_proxy
from workflows.common.redaction import redact
from workflows.common.settings import Settings
from workflows.local_llm.model import LLM_SERVER, local_model_identity, local_model_name

logger = logging.getLogger(__name__)

OPENAI_BASE_URL = "https://api.openai.com/v1"
MAX_RETRIES = 4
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0
MAX_MODELS_LISTED = 20
MAX_ERROR_CHARACTERS = 500
PROBE_SECONDS = 30.0
# The bundled model's longest answer that was accepted had 350 tokens. A longer one repeats itself, for ten seconds.
BUNDLED_MAX_TOKENS = 360

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


@dataclass(frozen=True)
class LanguageModel:
    """A model behind the OpenAI protocol."""

    settings: Settings  # Server, key, model and limits.
    max_retries: int = MAX_RETRIES  # Of connection errors, timeouts, 408, 409 and 5xx, by the openai package.
    clock: Callable[[], float] = time.time  # Seconds since 1970; replaced in tests, as is the next.
    sleep: Callable[[float], None] = time.sleep

    @property
    def identity(self) -> str:
        """Which model this is, and where: another one gives other answers."""
        settings = self.settings
        if settings.uses_local_llm:
            return f"local {local_model_identity(settings)}"
        extra = json.dumps(settings.llm_extra_parameters, sort_keys=True)
        return f"{public_address(settings)} {settings.openai_api_version} {settings.llm_model} {extra}"

    @property
    def max_attempts(self) -> int | None:
        """How often it is asked for an answer at most; None is as often as the prompt file says."""
        # Of 88 answers of the bundled model that were refused, one was accepted when it was asked again.
        return self.settings.llm_max_attempts or (1 if self._is_bundled else None)

    @property
    def _is_bundled(self) -> bool:
        return self.settings.uses_local_llm and self.settings.local_model_path is None

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        """Answer a conversation with JSON that fits the schema, as far as the server can be told to.

        One request with its retries takes at most `LLM_BUDGET_SECONDS`. A 429 pauses the calls of all processes and is
        no failure as long as `LLM_WAIT_SECONDS` allow. What a server refuses of the request's form (JSON Schema,
        temperature, `max_tokens`) is changed or left out.

        Raises:
            RequestTooLargeError: a shorter conversation, or one with a smaller `max_tokens`, may be answered.
            ServiceError: the server could not be reached, or refused.
        """
        settings = self.settings
        if self._is_bundled:
            max_tokens = min(max_tokens, BUNDLED_MAX_TOKENS)
        key = f"{self.identity} {json.dumps(schema, sort_keys=True)}"
        options = _LEARNED_OPTIONS.get(key, RequestOptions())
        folder, wait_seconds = settings.llm_dir / "limits", settings.llm_wait_seconds
        at_once, per_minute = settings.max_llm_calls_at_once, settings.max_llm_calls_per_minute
        limits = CallLimits(folder, at_once, per_minute, wait_seconds, self.clock, self.sleep)
        deadline, pauses = limits.deadline(), 0
        while True:
            with limits.place(deadline):
                try:
                    completion = self._send(options.request(messages, schema, max_tokens, temperature))
                    _LEARNED_OPTIONS[key] = options
                    return completion
                except openai.APIError as caught:
                    error = caught
                is_refused = isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError)
                adapted = options.adapted(f"{_message(error)} {error.param or ''}") if is_refused else None
                if adapted is not None:
                    options = adapted
                # A quota that is used up does not come back by waiting.
                elif isinstance(error, openai.RateLimitError) and error.code != "insufficient_quota":
                    pauses += 1
                    seconds = _pause_seconds(error.response.headers.get("retry-after", ""), pauses)
                    if not limits.pause(seconds, deadline):
                        limit = f"{wait_seconds:g} s (LLM_WAIT_SECONDS), or than the caller waits"
                        raise ServiceError(f"{self._explain(error)}; it would mean waiting longer than {limit}")
                    logger.warning("%s; all calls pause for %.1f s", self._explain(error), seconds)
                else:
                    raise ServiceError(self._explain(error))

    def _send(self, request: Mapping[str, Any]) -> Completion:
        # Asked before each call: a local server that ended while idle is started again.
        local_url = f"{ensure_service(LLM_SERVER)}/v1" if self.settings.uses_local_llm else None
        answer = self._request(request, local_url)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(answer)
        # The kernel of Mage's editor runs blocks in its event loop.
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(asyncio.run, answer).result()

    async def _request(self, request: Mapping[str, Any], local_url: str | None) -> Completion:
        """Send a request, with retries.

        Raises:
            openai.APIError: the server refused, or cannot be reached.
            ServiceError: it does not answer in time or by the protocol, has no such model, or the settings name none.
        """
        settings = self.settings
        async with _TimedClient(timeout=settings.llm_timeout_seconds, verify=tls_context()) as http:
            client = self._client(http, local_url)
            if settings.llm_model is None and local_url is None:
                offered = await _offered_models(client)
                raise ServiceError(f"LLM_MODEL is not set: name the model of the configured server{offered}")
            body = {"model": model_name(settings), **request, **(settings.llm_extra_parameters or {})}
            try:
                async with asyncio.timeout(settings.llm_budget_seconds):
                    response = await client.post("/chat/completions", body=body, cast_to=httpx.Response)
            except TimeoutError:
                limit = f"{settings.llm_budget_seconds:g} s (LLM_BUDGET_SECONDS)"
                raise ServiceError(self._explain(f"no answer within {limit}")) from None
            except openai.APIStatusError as error:
                status, code, message = error.status_code, error.code, _message(error)
                if status in (400, 422) and (code == "context_length_exceeded" or _TOO_LARGE.search(message)):
                    raise RequestTooLargeError(self._explain(error)) from None
                is_missing = status in (400, 403, 422) and _MODEL_MISSING.search(message)
                if is_missing or status == 404 or code == "model_not_found":
                    raise ServiceError(f"{self._explain(error)}{await _offered_models(client)}") from None
                raise
        answer = _json(response)
        if not at(answer, "choices") and (error_body := at(answer, "error")):
            raise ServiceError(self._explain(f"{response.status_code}, {at(error_body, 'message') or error_body}"))
        if not isinstance(at(answer, "choices"), list):
            where = public_address(settings)
            raise ServiceError(f"{where} does not answer as the OpenAI protocol says; check OPENAI_BASE_URL")
        return read_completion(answer, model_name(settings), response.elapsed.total_seconds())

    def _client(self, http: httpx.AsyncClient, local_url: str | None) -> openai.AsyncOpenAI:
        settings = self.settings
        key, version = settings.openai_api_key, settings.openai_api_version
        base_url = local_url or settings.openai_base_url
        if base_url is None and (key is None or version is not None):
            raise ServiceError(
                "LLM_MODEL is set but no server: set OPENAI_API_KEY for OpenAI, or OPENAI_BASE_URL for another server "
                "(https://NAME.openai.azure.com for Azure); a file for the local server goes into LOCAL_MODEL_PATH"
            )
        # Servers of one's own often need no key, but the protocol's header has to hold something.
        secret = service_key(LLM_SERVER) if local_url else key.get_secret_value() if key else "none"
        options: dict[str, Any] = {"api_key": secret, "max_retries": self.max_retries, "http_client": http}
        try:
            if version is None or local_url:
                return openai.AsyncOpenAI(base_url=base_url or OPENAI_BASE_URL, **options)
            return openai.AsyncAzureOpenAI(azure_endpoint=str(base_url).rstrip("/"), api_version=version, **options)
        except httpx.InvalidURL:
            # Its own message may hold a part of a password.
            raise ServiceError(f"OPENAI_BASE_URL is not an address: {public_address(settings)}") from None

    def _explain(self, problem: openai.APIError | str) -> str:
        """Say in a line what failed and where, without secrets."""
        settings = self.settings
        reason = problem if isinstance(problem, str) else _message(problem)
        if isinstance(problem, openai.AuthenticationError):
            reason = "401, the key was refused; check OPENAI_API_KEY"
        elif isinstance(problem, openai.PermissionDeniedError):
            reason = f"403, {reason}; check OPENAI_API_KEY and what it may use"
        elif isinstance(problem, openai.APIStatusError):
            reason = f"{problem.status_code}, {reason}"
        elif isinstance(problem, openai.APITimeoutError):
            reason = f"no answer within {settings.llm_timeout_seconds:g} s (LLM_TIMEOUT_SECONDS)"
        if isinstance(problem, openai.APIConnectionError) and not settings.uses_local_llm:
            reason += through_proxy(settings.openai_base_url or OPENAI_BASE_URL)
        line = " ".join(f"The language model {describe_model(settings)} failed: {reason}".split())
        # Before it is cut, so that no part of a secret is left.
        return redact(line)[:MAX_ERROR_CHARACTERS]


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the trusted certificates, which take longer to read than a whole call of a fast model."""
    return httpx.create_ssl_context()


class _TimedClient(openai.DefaultAsyncHttpxClient):
    """Limits the time of a whole request, its body included; httpx limits only the wait for the next piece."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            async with asyncio.timeout(request.extensions["timeout"]["read"]):
                response = await super().send(request, **options)
                await response.aread()
        except TimeoutError:
            raise httpx.ReadTimeout("no whole answer in time", request=request) from None
        if response.is_success:
            body = _json(response)
            if body is None and "json" in response.headers.get("content-type", ""):
                raise httpx.ReadError("the answer broke off", request=request)
            # Gateways answer 200 before they have called the model.
            code = str(at(body, "error", "code"))
            if not at(body, "choices") and re.fullmatch(r"[45]\d\d", code):
                response.status_code = int(code)
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            # Not retried by the openai package but after a pause of all processes, see `LanguageModel.complete`.
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
        model = LanguageModel(settings.model_copy(update=limits), max_retries=0)
        completion = model.complete(messages, schema, max_tokens=32, temperature=0.0)
    except ServiceError as error:
        return str(error)
    return None if completion.text.strip() else f"The language model {describe_model(settings)} answered nothing"


def public_address(settings: Settings) -> str:
    """Return the configured server's address without user, password and query, for messages and logs."""
    address = settings.openai_base_url or OPENAI_BASE_URL
    # Up to the last @: a password may contain one that is not escaped.
    return re.split(r"[?#]", re.sub(r"(?<=//).*@", "", address))[0]


def _json(response: httpx.Response) -> Any:
    """Return the body of an answer, None where it is no JSON."""
    try:
        return response.json()
    except ValueError:
        return None


def _message(error: openai.APIError) -> str:
    message = at(error.body, "message")
    return message if isinstance(message, str) else error.message


def _pause_seconds(retry_after: str, pauses: int) -> float:
    """Return how long to pause: what the server asks for (RFC 9110: seconds or a date), and longer each time."""
    growing = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(pauses - 1, 10)) * random.uniform(0.75, 1.25)
    with contextlib.suppress(ValueError):
        return max(growing, float(retry_after))
    with contextlib.suppress(ValueError):
        return max(growing, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    return growing


async def _offered_models(client: openai.AsyncOpenAI) -> str:
    """Name the models that a server offers, where it tells."""
    try:
        names = sorted([model.id async for model in client.with_options(max_retries=0).models.list()])
    except (openai.APIError, AttributeError, TypeError, ValueError):
        return ""
    shown = ", ".join(names[:MAX_MODELS_LISTED]) + (", ..." if len(names) > MAX_MODELS_LISTED else "")
    return f"; the server offers: {shown}" if names else ""
