"""Talk to any server that speaks the OpenAI protocol: time limits, retries, shared limits."""

import email.utils
import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import httpx
import openai
from openai.types.chat import ChatCompletion

from workflows.errors import ServiceError
from workflows.llm.dialect import Dialect, DialectBook, Message
from workflows.llm.limits import CallLimits
from workflows.llm.local_model import local_model_name, local_model_path
from workflows.services.lifecycle import ensure_service
from workflows.settings import Settings

logger = logging.getLogger(__name__)

OPENAI_BASE_URL = "https://api.openai.com/v1"
MAX_TRIES = 5
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0
MAX_MODELS_LISTED = 20

_CONTEXT_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|too many tokens|(?:prompt|input) is too long|reduce the length", re.IGNORECASE
)
_MODEL_MISSING = re.compile(r"\bmodel\b.*\b(?:not exist|not found|not available|unknown)\b", re.IGNORECASE)


class ContextTooLongError(ServiceError):
    """The conversation does not fit into the model's context."""


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
            path = local_model_path(settings)
            return f"local {path.name} {path.stat().st_size}"
        extra = json.dumps(settings.llm_extra_parameters, sort_keys=True)
        return f"{_base_url(settings)} {settings.openai_api_version} {settings.llm_model} {extra}"

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        """Answer a conversation; see `LanguageModel.complete`.

        Connection errors, time-outs, 408, 409 and 5xx are tried again with growing delays (or the server's
        Retry-After) until the tries or `LLM_BUDGET_SECONDS` are used up. 429 pauses the calls of all processes and
        is tried again as long as `LLM_WAIT_SECONDS` allow: being asked too often is no failure. What a server
        refuses of the request's form (JSON Schema, temperature, `max_tokens`) is left out or said otherwise.
        """
        dialect = kept_dialect = self._dialects.read()
        waits_until = self._limits.deadline()
        spent_seconds, tries, slow_downs = 0.0, 0, 0
        while True:
            with self._limits.place(waits_until):
                started = time.monotonic()
                try:
                    request = dialect.request(messages, schema, max_tokens, temperature)
                    answer = self._send(request, self._settings.llm_budget_seconds - spent_seconds)
                    if dialect != kept_dialect:
                        self._dialects.write(dialect)
                    return _completion(answer, time.monotonic() - started)
                except openai.APIError as caught:
                    error = caught
            spent_seconds += time.monotonic() - started
            if isinstance(error, openai.BadRequestError):
                dialect = self._adapted(dialect, error)
            elif _is_slow_down(error):
                slow_downs += 1
                delay = max(FIRST_DELAY_SECONDS, _delay(error, slow_downs) or 0.0)
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

    def _adapted(self, dialect: Dialect, error: openai.APIStatusError) -> Dialect:
        """Return the dialect to try next; each change is made once, so this ends."""
        reason = _server_message(error)
        if error.code == "context_length_exceeded" or _CONTEXT_TOO_LONG.search(reason):
            raise ContextTooLongError(self._explain(error)) from error
        if error.code == "model_not_found" or _MODEL_MISSING.search(reason):
            raise ServiceError(f"{self._explain(error)}{self._offered()}") from error
        adapted = None if error.code == "content_filter" else dialect.adapted(reason)
        if adapted is None:
            raise ServiceError(self._explain(error)) from error
        return adapted

    def _send(self, request: dict[str, Any], seconds_left: float) -> ChatCompletion:
        base_url, model = _base_url(self._settings), model_name(self._settings)
        with self._client(min(self._settings.llm_timeout_seconds, max(1.0, seconds_left))) as client:
            try:
                answer = client.chat.completions.create(
                    model=model, extra_body=self._settings.llm_extra_parameters, **request
                )
            except json.JSONDecodeError as error:
                raise openai.APIConnectionError(
                    message="the answer broke off", request=httpx.Request("POST", base_url)
                ) from error
            except openai.NotFoundError as error:
                raise ServiceError(f"{self._explain(error)}{self._offered()}") from error
        if not isinstance(answer, ChatCompletion):
            raise ServiceError(f"{base_url} does not answer as the OpenAI protocol says; check OPENAI_BASE_URL")
        return answer

    def _client(self, timeout_seconds: float) -> openai.OpenAI:
        """Return a client of the configured server.

        Raises:
            ServiceError: the settings do not say which server or model.
        """
        settings = self._settings
        if settings.uses_local_llm:
            local_model_path(settings)
            # Asked anew for each try: a server that ended while idle is started again.
            url = f"{ensure_service('llm_server')}/v1"
            return openai.OpenAI(base_url=url, api_key="local", timeout=timeout_seconds, max_retries=0)
        if settings.openai_base_url is None and settings.openai_api_key is None:
            raise ServiceError(
                "LLM_MODEL is set but no server: set OPENAI_API_KEY for OpenAI, or OPENAI_BASE_URL for another; "
                "a file for the local server goes into LOCAL_MODEL_PATH"
            )
        client = self._remote_client(timeout_seconds)
        if settings.llm_model is None:
            raise ServiceError(
                "LLM_MODEL is not set: name the model that the configured server shall use" + _models_of(client)
            )
        return client

    def _remote_client(self, timeout_seconds: float) -> openai.OpenAI:
        settings = self._settings
        # Local servers want no key, but the protocol's header has to hold something.
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "none"
        if settings.openai_api_version is None:
            return openai.OpenAI(base_url=_base_url(settings), api_key=key, timeout=timeout_seconds, max_retries=0)
        if settings.openai_base_url is None:
            raise ServiceError(
                "OPENAI_API_VERSION is for Azure OpenAI: set OPENAI_BASE_URL to the resource, "
                "https://NAME.openai.azure.com"
            )
        return openai.AzureOpenAI(
            azure_endpoint=settings.openai_base_url.rstrip("/"),
            azure_deployment=settings.llm_model,
            api_version=settings.openai_api_version,
            api_key=key,
            timeout=timeout_seconds,
            max_retries=0,
        )

    def _offered(self) -> str:
        with self._client(self._settings.llm_timeout_seconds) as client:
            return _models_of(client)

    def _explain(self, error: openai.APIError, tries: int = 1) -> str:
        """Say in a line what failed and where, never with the key."""
        settings = self._settings
        where = "local server" if settings.uses_local_llm else _base_url(settings)
        model = model_name(settings)
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
        reason = _server_message(error)
        if isinstance(error, openai.APITimeoutError):
            reason = f"no answer within {settings.llm_timeout_seconds:g} s (LLM_TIMEOUT_SECONDS)"
        elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            reason = f"{error.status_code}, the key was refused; check OPENAI_API_KEY"
        elif isinstance(error, openai.APIStatusError):
            reason = f"{error.status_code}, {reason}"
        after = f" after {tries} tries" if tries > 1 else ""
        line = " ".join(f"The language model {model} ({where}) failed{after}: {reason}".split())[:500]
        return line.replace(key, "***") if key else line


def model_name(settings: Settings) -> str:
    """Return the name of the model that the settings choose."""
    return settings.llm_model or local_model_name(settings)


def _base_url(settings: Settings) -> str:
    return settings.openai_base_url or OPENAI_BASE_URL


def _is_slow_down(error: openai.APIError) -> bool:
    # A quota that is used up does not come back by waiting.
    return isinstance(error, openai.RateLimitError) and error.code != "insufficient_quota"


def _delay(error: openai.APIError, tries: int) -> float | None:
    """Return the seconds to wait before the next try, None if another one would not help."""
    backoff = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (tries - 1)) * random.uniform(0.75, 1.25)
    if isinstance(error, openai.APIConnectionError):
        return backoff
    if not isinstance(error, openai.APIStatusError):
        return None
    if not _is_slow_down(error) and error.status_code not in (408, 409) and error.status_code < 500:
        return None
    asked_for = _retry_after(error.response.headers)
    return backoff if asked_for is None else asked_for


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
    except (openai.APIError, ValueError):
        return ""
    shown = ", ".join(names[:MAX_MODELS_LISTED]) + (", …" if len(names) > MAX_MODELS_LISTED else "")
    return f"; the server offers: {shown}" if names else ""


def _completion(answer: ChatCompletion, seconds: float) -> Completion:
    choice = answer.choices[0] if answer.choices else None
    usage = answer.usage
    return Completion(
        text=(choice.message.content or "") if choice else "",
        model=answer.model,
        input_tokens=usage.prompt_tokens if usage else 0,
        output_tokens=usage.completion_tokens if usage else 0,
        seconds=seconds,
        is_cut=choice is not None and choice.finish_reason == "length",
    )
