"""Talk to any server that speaks the OpenAI protocol: time limits, retries, shared limits."""

import contextlib
import email.utils
import json
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import openai

from workflows.ai_blocks.deadline import Deadline
from workflows.ai_blocks.dialect import Dialect, DialectBook, Message
from workflows.ai_blocks.limits import CallLimits
from workflows.ai_blocks.local_model import LLM_SERVER, local_model_identity, local_model_name
from workflows.common.errors import ServiceError
from workflows.common.local_services import ensure_service
from workflows.common.settings import Settings

logger = logging.getLogger(__name__)
# It logs the whole address of each request, and an address may hold a password.
logging.getLogger("httpx").setLevel(logging.WARNING)

OPENAI_BASE_URL = "https://api.openai.com/v1"
MAX_TRIES = 5
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0
MAX_MODELS_LISTED = 20
# What servers answer to a request that they do not understand.
MISSPOKEN = (400, 422)
MAX_ERROR_CHARACTERS = 500
# Shorter keys ("none", "ollama") are no secrets, and are parts of words.
MIN_SECRET_CHARACTERS = 8

_CONTEXT_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|too many tokens|(?:prompt|input) is too long|reduce the length", re.IGNORECASE
)
_TOO_MANY_TOKENS = re.compile(
    r"max_(?:completion_|output_|new_)?tokens\b.{0,60}?"
    r"(?:too (?:large|high|big|many)|above max|must be less|less than or equal|<=|\d > \d|valid range)|"
    r"at most \d+ (?:completion|output) tokens|maximum allowed number of output tokens",
    re.IGNORECASE,
)
_MODEL_MISSING = re.compile(r"\bmodel\b.*\b(?:not exist|not found|not available|unknown)\b", re.IGNORECASE)
_MODEL_BARRED = re.compile(r"not have access to (?:the )?model", re.IGNORECASE)


class ContextTooLongError(ServiceError):
    """The conversation does not fit into the model's context."""


class TooManyTokensError(ServiceError):
    """The model cannot write as many tokens as it was allowed to: `max_tokens` is too large."""


@dataclass(frozen=True)
class Completion:
    """One answer of a model.

    Attributes:
        text: What it wrote; empty where it wrote nothing.
        model: The name that the server gave to the model which answered.
        input_tokens: Tokens read, as counted by the server; 0 where it does not say.
        output_tokens: Tokens written.
        seconds: Time of the request that was answered; waiting and failed tries not included.
        is_cut: Whether it ended at the limit of tokens, not where the model wanted to end.
    """

    text: str
    model: str
    input_tokens: int
    output_tokens: int
    seconds: float
    is_cut: bool = False


class LanguageModel(Protocol):
    """What the AI blocks need of a model."""

    @property
    def identity(self) -> str:
        """Which model this is, and where: answers of another one are other answers."""
        ...

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        """Answer a conversation with JSON that fits the schema, as far as the server can be held to it.

        Raises:
            ContextTooLongError: a shorter conversation may be answered.
            TooManyTokensError: with a smaller `max_tokens` it may be answered.
            ServiceError: the server could not be reached, or refused.
        """
        ...


class OpenAIModel:
    """A model behind the OpenAI protocol.

    Args:
        settings: Which server, key, model, and the limits.
        clock: Seconds since 1970; replaced in tests.
        sleep: Waits the given number of seconds; replaced in tests.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ):
        folder = settings.llm_dir
        self._settings = settings
        self._sleep = sleep
        self._limits = CallLimits(
            folder / "limits",
            settings.max_llm_calls_at_once,
            settings.max_llm_calls_per_minute,
            settings.llm_wait_seconds,
            clock=clock,
            sleep=sleep,
        )
        self._dialects = DialectBook(folder / "dialects", self.identity)

    @property
    def identity(self) -> str:
        """Server and model; see `LanguageModel.identity`."""
        settings = self._settings
        if settings.uses_local_llm:
            return f"local {local_model_identity(settings)}"
        extra = json.dumps(settings.llm_extra_parameters, sort_keys=True)
        return f"{public_address(settings)} {settings.openai_api_version} {settings.llm_model} {extra}"

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        """Answer a conversation; see `LanguageModel.complete`.

        Connection errors, time-outs, 408, 409 and 5xx are tried again with growing delays (or the server's
        Retry-After) until the tries or `LLM_BUDGET_SECONDS` are used up. 429 pauses the calls of all processes and
        is tried again as long as `LLM_WAIT_SECONDS` allow: being asked too often is no failure. What a server
        refuses of the request's form (JSON Schema, temperature, `max_tokens`) is left out or said otherwise.
        """
        dialect = kept_dialect = self._dialects.read(schema)
        waits_until = self._limits.deadline()
        spent_seconds, tries, slow_downs = 0.0, 0, 0
        while True:
            with self._limits.place(waits_until):
                started = time.monotonic()
                try:
                    request = dialect.request(messages, schema, max_tokens, temperature)
                    completion = self._send(request, self._settings.llm_budget_seconds - spent_seconds)
                    self._dialects.write(schema, dialect, kept_dialect)
                    return completion
                except openai.APIError as caught:
                    error = caught
            spent_seconds += time.monotonic() - started
            if (refusal := self._refusal(error)) is not None:
                raise refusal from error
            if _status(error) in MISSPOKEN:
                dialect = self._adapted(dialect, error)
            elif _is_slow_down(error):
                slow_downs += 1
                delay = _delay(error, slow_downs) or FIRST_DELAY_SECONDS
                if not self._limits.pause(delay, waits_until):
                    limit = f"waiting longer than {self._settings.llm_wait_seconds:g} s (LLM_WAIT_SECONDS)"
                    raise ServiceError(f"{self._explain(error)}; it would mean {limit}") from error
                logger.warning("%s; all calls pause for %.1f s", self._explain(error), delay)
            else:
                tries += 1
                retry_delay = _delay(error, tries)
                if (
                    retry_delay is None
                    or tries >= MAX_TRIES
                    or spent_seconds + retry_delay >= self._settings.llm_budget_seconds
                ):
                    raise ServiceError(self._explain(error, tries)) from error
                logger.warning("%s; tried again in %.1f s", self._explain(error), retry_delay)
                self._sleep(retry_delay)
                spent_seconds += retry_delay

    def _refusal(self, error: openai.APIError) -> ServiceError | None:
        """Return what to raise where a server says that it cannot answer this, None where it says anything else."""
        reason = _server_message(error)
        if _status(error) in MISSPOKEN:
            if _TOO_MANY_TOKENS.search(reason):
                return TooManyTokensError(self._explain(error))
            if error.code == "context_length_exceeded" or _CONTEXT_TOO_LONG.search(reason):
                return ContextTooLongError(self._explain(error))
        is_missing = _status(error) in (*MISSPOKEN, 403) and _MODEL_MISSING.search(reason)
        if is_missing or _status(error) == 404 or error.code == "model_not_found" or _MODEL_BARRED.search(reason):
            return ServiceError(f"{self._explain(error)}{self._offered()}")
        return None

    def _adapted(self, dialect: Dialect, error: openai.APIError) -> Dialect:
        """Return the dialect to try next; each change is made once, so this ends."""
        refusal = f"{_server_message(error)} {error.param or ''}"
        adapted = None if error.code == "content_filter" else dialect.adapted(refusal)
        if adapted is None:
            raise ServiceError(self._explain(error)) from error
        return adapted

    def _send(self, request: dict[str, Any], seconds_left: float) -> Completion:
        """Send a request once.

        Raises:
            openai.APIError: no answer, or one that says what failed.
            ServiceError: an answer that is none of the protocol; or as `_connection`.
        """
        settings = self._settings
        seconds, limit = settings.llm_timeout_seconds, f"{settings.llm_timeout_seconds:g} s (LLM_TIMEOUT_SECONDS)"
        if seconds_left < seconds:
            seconds, limit = max(1.0, seconds_left), f"{settings.llm_budget_seconds:g} s (LLM_BUDGET_SECONDS)"
        with self._connection(seconds) as (client, deadline):
            started = time.monotonic()
            try:
                response = client.chat.completions.with_raw_response.create(
                    model=model_name(settings), extra_body=settings.llm_extra_parameters, **request
                ).http_response
                return self._completion(response, time.monotonic() - started)
            except openai.APIConnectionError as error:
                if deadline.is_over or isinstance(error, openai.APITimeoutError):
                    reason = f"no answer within {limit}"
                    raise openai.APIConnectionError(message=reason, request=error.request) from error
                raise

    def _completion(self, response: httpx.Response, seconds: float) -> Completion:
        """Read an answer as loosely as servers write it; see `_send`."""
        try:
            body = json.loads(response.content)
        except ValueError as error:
            if "json" in response.headers.get("content-type", ""):
                raise openai.APIConnectionError(message="the answer broke off", request=response.request) from error
            body = None
        choices = _mapping(body).get("choices")
        if not choices and (failure := _mapping(body).get("error")):
            raise _failure(failure, response)
        if not isinstance(choices, list):
            where = public_address(self._settings)
            raise ServiceError(f"{where} does not answer as the OpenAI protocol says; check OPENAI_BASE_URL")
        choice, usage = _mapping(choices[0] if choices else None), _mapping(body.get("usage"))
        return Completion(
            text=_text(_mapping(choice.get("message")).get("content")),
            model=str(body.get("model") or model_name(self._settings)),
            input_tokens=_count(usage.get("prompt_tokens")),
            output_tokens=_count(usage.get("completion_tokens")),
            seconds=seconds,
            is_cut=choice.get("finish_reason") == "length",
        )

    @contextlib.contextmanager
    def _connection(self, seconds: float) -> Iterator[tuple[openai.OpenAI, Deadline]]:
        """Give a client of the configured server, and the deadline that ends its requests.

        Raises:
            ServiceError: the settings do not say which server or model.
        """
        settings = self._settings
        # Asked anew for each try: a server that ended while idle is started again.
        local_url = f"{ensure_service(LLM_SERVER)}/v1" if settings.uses_local_llm else None
        if local_url is None and settings.openai_base_url is None and settings.openai_api_key is None:
            raise ServiceError(
                "LLM_MODEL is set but no server: set OPENAI_API_KEY for OpenAI, or OPENAI_BASE_URL for another; "
                "a file for the local server goes into LOCAL_MODEL_PATH"
            )
        deadline = Deadline(seconds)
        http = openai.DefaultHttpxClient(
            timeout=seconds,
            # A proxy that the environment names cannot reach this machine's own addresses.
            trust_env=local_url is None,
            event_hooks={"request": [deadline.watch]},
        )
        with http, deadline:
            if local_url is not None:
                yield openai.OpenAI(base_url=local_url, api_key="local", max_retries=0, http_client=http), deadline
                return
            client = self._remote_client(http)
            if settings.llm_model is None:
                raise ServiceError(
                    "LLM_MODEL is not set: name the model that the configured server shall use" + _models_of(client)
                )
            yield client, deadline

    def _remote_client(self, http: httpx.Client) -> openai.OpenAI:
        settings = self._settings
        # Local servers want no key, but the protocol's header has to hold something.
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "none"
        if settings.openai_api_version is not None and settings.openai_base_url is None:
            raise ServiceError(
                "OPENAI_API_VERSION is for Azure OpenAI: set OPENAI_BASE_URL to the resource, "
                "https://NAME.openai.azure.com"
            )
        base_url = settings.openai_base_url or OPENAI_BASE_URL
        try:
            if settings.openai_api_version is None:
                return openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, http_client=http)
            return openai.AzureOpenAI(
                azure_endpoint=base_url.rstrip("/"),
                azure_deployment=settings.llm_model,
                api_version=settings.openai_api_version,
                api_key=key,
                max_retries=0,
                http_client=http,
            )
        except httpx.InvalidURL:
            # Its own message may hold a part of a password.
            raise ServiceError(f"OPENAI_BASE_URL is not an address: {public_address(settings)}") from None

    def _offered(self) -> str:
        with self._connection(self._settings.llm_timeout_seconds) as (client, _):
            return _models_of(client)

    def _explain(self, error: openai.APIError, tries: int = 1) -> str:
        """Say in a line what failed and where, never with the key."""
        settings = self._settings
        where = "local server" if settings.uses_local_llm else public_address(settings)
        reason, status = _server_message(error), _status(error)
        if status == 401:
            reason = "401, the key was refused; check OPENAI_API_KEY"
        elif status == 403:
            reason = f"403, {reason}; check OPENAI_API_KEY and what it may use"
        elif status is not None:
            reason = f"{status}, {reason}"
        after = f" after {tries} tries" if tries > 1 else ""
        line = " ".join(f"The language model {model_name(settings)} ({where}) failed{after}: {reason}".split())
        for secret in _secrets(settings):
            line = line.replace(secret, "***")
        return line[:MAX_ERROR_CHARACTERS]


def model_name(settings: Settings) -> str:
    """Return the name of the model that the settings choose."""
    return settings.llm_model or local_model_name(settings)


def public_address(settings: Settings) -> str:
    """Return the configured server's address without user, password and query: what may be shown and logged."""
    address = settings.openai_base_url or OPENAI_BASE_URL
    # Up to the last @: one in a password that is not escaped must not leave the rest of it.
    return re.split(r"[?#]", re.sub(r"(?<=//).*@", "", address))[0]


def _secrets(settings: Settings) -> set[str]:
    """Return what no message may hold: the key, and the user, password and values of the query in the address."""
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    parts = urlsplit(settings.openai_base_url or "")
    userinfo = parts.netloc.rpartition("@")[0].split(":", 1)
    found = {key, *userinfo, *map(unquote, userinfo), *(value for _, value in parse_qsl(parts.query))}
    return {secret for secret in found if len(secret) >= MIN_SECRET_CHARACTERS}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(content: Any) -> str:
    """Return the text of a message, which may be a list of parts: a text, thoughts, a refusal."""
    if isinstance(content, list):
        return "".join(
            str(_mapping(part).get("text") or "") for part in content if _mapping(part).get("type") == "text"
        )
    return content if isinstance(content, str) else ""


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _failure(failure: Any, response: httpx.Response) -> openai.APIStatusError:
    """Return the error that an answer with the status 200 speaks of: gateways answer before they have asked."""
    code = str(_mapping(failure).get("code"))
    if re.fullmatch(r"[45]\d\d", code):
        response.status_code = int(code)
    return openai.APIStatusError(str(failure), response=response, body=failure)


def _status(error: openai.APIError) -> int | None:
    return error.status_code if isinstance(error, openai.APIStatusError) else None


def _is_slow_down(error: openai.APIError) -> bool:
    # A quota that is used up does not come back by waiting.
    return _status(error) == 429 and error.code != "insufficient_quota"


def _delay(error: openai.APIError, tries: int) -> float | None:
    """Return the seconds to wait before the next try, None if another one would not help."""
    backoff = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(tries - 1, 10)) * random.uniform(0.75, 1.25)
    if isinstance(error, openai.APIConnectionError):
        return backoff
    if not isinstance(error, openai.APIStatusError):
        return None
    if not _is_slow_down(error) and error.status_code not in (408, 409) and error.status_code < 500:
        return None
    asked_for = _retry_after(error.response.headers)
    # A server that asks for no wait each time is still asked less and less often.
    return max(backoff, asked_for or 0.0)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds that a server asks to wait: a number of them, or a date (RFC 9110); None if it does not."""
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        pass
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _server_message(error: openai.APIError) -> str:
    body = error.body
    if isinstance(body, Mapping) and isinstance(body.get("message"), str):
        return str(body["message"])
    return error.message


def _models_of(client: openai.OpenAI) -> str:
    """Say which models a server offers, where it tells."""
    try:
        names = sorted(model.id for model in client.models.list())
    except (openai.APIError, AttributeError, TypeError, ValueError):
        return ""
    shown = ", ".join(names[:MAX_MODELS_LISTED]) + (", …" if len(names) > MAX_MODELS_LISTED else "")
    return f"; the server offers: {shown}" if names else ""
