"""Talk to any server that speaks the OpenAI protocol: time limits, retries, a shared limit of calls at once."""

import contextlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import openai
from filelock import FileLock, Timeout
from openai.types.chat import ChatCompletion

from workflows.errors import ServiceError
from workflows.llm.local_model import local_model_name, local_model_path
from workflows.services.lifecycle import ensure_service
from workflows.settings import Settings

logger = logging.getLogger(__name__)

Message = dict[str, str]

OPENAI_BASE_URL = "https://api.openai.com/v1"
MAX_TRIES = 5
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0
# A place frees itself when its process ends, so a wait this long means that something hangs.
MAX_WAIT_FOR_PLACE_SECONDS = 1800.0
PLACE_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Completion:
    """One answer of a model.

    Attributes:
        text: What it wrote; empty where it wrote nothing.
        model: The name that the server gave to the model which answered.
        tokens: Tokens read and written, as counted by the server; 0 where it does not say.
        seconds: Time of the request, waiting for a free place not included.
    """

    text: str
    model: str
    tokens: int
    seconds: float


class LanguageModel(Protocol):
    """What the AI blocks need of a model."""

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        """Answer a conversation with JSON that fits the schema, as far as the server can be held to it.

        Raises:
            ServiceError: the server could not be reached, or refused.
        """
        ...


class OpenAIModel:
    """A model behind the OpenAI protocol.

    Args:
        settings: Which server, key, model, and the limits.
        sleep: Waits the given number of seconds; replaced in tests.
    """

    def __init__(self, settings: Settings, sleep: Callable[[float], None] = time.sleep):
        self._settings = settings
        self._sleep = sleep
        self._dialect = _Dialect()

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        """Answer a conversation; see `LanguageModel.complete`.

        Connection errors, time-outs, 408, 409, 429 and 5xx are tried again with growing delays (or the
        server's Retry-After) until the tries or the time budget of the settings are used up. What a server
        refuses of the request's form (JSON Schema, temperature, `max_tokens`) is left out and said otherwise.
        """
        settings = self._settings
        with _place(settings.state_dir / "llm" / "places", settings.max_llm_calls_at_once):
            deadline = time.monotonic() + settings.llm_budget_seconds
            tries = 0
            while True:
                started = time.monotonic()
                request = self._dialect.request(messages, schema, max_tokens, temperature)
                try:
                    answer = self._send(request, max(1.0, deadline - started))
                except openai.BadRequestError as error:
                    # Each change is made once, so this ends.
                    if not self._dialect.adapt(_server_message(error)):
                        raise ServiceError(self._explain(error)) from error
                    continue
                except openai.APIError as error:
                    tries += 1
                    delay = _delay(error, tries)
                    if delay is None or tries >= MAX_TRIES or time.monotonic() + delay >= deadline:
                        raise ServiceError(self._explain(error, tries)) from error
                    logger.warning("%s; tried again in %.1f s", self._explain(error), delay)
                    self._sleep(delay)
                    continue
                return _completion(answer, time.monotonic() - started)

    def _send(self, request: dict[str, Any], seconds_left: float) -> ChatCompletion:
        base_url, key, model = self._server()
        timeout = min(self._settings.llm_timeout_seconds, seconds_left)
        with openai.OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=0) as client:
            try:
                answer = client.chat.completions.create(model=model, **request)
            except json.JSONDecodeError as error:
                raise openai.APIConnectionError(
                    message="the answer broke off", request=httpx.Request("POST", base_url)
                ) from error
            except openai.NotFoundError as error:
                raise ServiceError(f"{self._explain(error)}{_offered(client)}") from error
        if not isinstance(answer, ChatCompletion):
            raise ServiceError(f"{base_url} does not answer as the OpenAI protocol says; check OPENAI_BASE_URL")
        return answer

    def _server(self) -> tuple[str, str, str]:
        """Return base URL, key and model's name."""
        settings = self._settings
        if settings.uses_local_llm:
            local_model_path(settings)
            # Asked anew for each try: a server that ended while idle is started again.
            return f"{ensure_service('llm_server')}/v1", "local", local_model_name(settings)
        if settings.llm_model is None:
            raise ServiceError("LLM_MODEL is not set: name the model that the configured server shall use")
        if settings.openai_base_url is None and settings.openai_api_key is None:
            raise ServiceError(
                "LLM_MODEL is set but no server: set OPENAI_API_KEY for OpenAI, or OPENAI_BASE_URL for another; "
                "a file for the local server goes into LOCAL_MODEL_PATH"
            )
        # Local servers want no key, but the protocol's header has to hold something.
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "none"
        return settings.openai_base_url or OPENAI_BASE_URL, key, settings.llm_model

    def _explain(self, error: openai.APIError, tries: int = 1) -> str:
        """Say in a line what failed and where, never with the key."""
        settings = self._settings
        where = "local server" if settings.uses_local_llm else settings.openai_base_url or OPENAI_BASE_URL
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


class _Dialect:
    """How a server wants the request to be written, learned from what it refuses."""

    def __init__(self) -> None:
        self._formats = ["json_schema", "json_object", "text"]
        self._tokens_key = "max_tokens"
        self._sends_temperature = True

    def request(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> dict[str, Any]:
        request: dict[str, Any] = {"messages": list(messages), self._tokens_key: max_tokens}
        if self._sends_temperature:
            request["temperature"] = temperature
        if self._formats[0] == "json_schema":
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": dict(schema), "strict": True},
            }
            return request
        if self._formats[0] == "json_object":
            request["response_format"] = {"type": "json_object"}
        rule = f"Answer with nothing but one JSON object that fits this JSON Schema: {json.dumps(schema)}"
        request["messages"] = [{"role": "system", "content": rule}, *messages]
        return request

    def adapt(self, refusal: str) -> bool:
        """Change what the refusal names; say whether there was something to change."""
        reason = refusal.lower()
        if self._tokens_key == "max_tokens" and "max_completion_tokens" in reason:
            self._tokens_key = "max_completion_tokens"
            return True
        if self._sends_temperature and "temperature" in reason:
            self._sends_temperature = False
            return True
        if "context" in reason or len(self._formats) == 1:
            return False
        self._formats = self._formats[1:]
        return True


def model_name(settings: Settings) -> str:
    """Return the name of the model that the settings choose."""
    return settings.llm_model or local_model_name(settings)


@contextlib.contextmanager
def _place(folder: Path, places: int) -> Iterator[None]:
    """Hold one of the places that all processes of this state folder share.

    Raises:
        ServiceError: none became free in a long time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(folder / f"call_{number}.lock", timeout=0) for number in range(places)]
    deadline = time.monotonic() + MAX_WAIT_FOR_PLACE_SECONDS
    while time.monotonic() < deadline:
        for lock in random.sample(locks, len(locks)):
            try:
                lock.acquire()
            except Timeout:
                continue
            try:
                yield
            finally:
                lock.release()
            return
        time.sleep(PLACE_POLL_SECONDS * random.uniform(0.5, 1.5))
    raise ServiceError(
        f"All {places} places for calls of the language model (MAX_LLM_CALLS_AT_ONCE) were taken for "
        f"{MAX_WAIT_FOR_PLACE_SECONDS:.0f} s"
    )


def _delay(error: openai.APIError, tries: int) -> float | None:
    """Return the seconds to wait before the next try, None if another one would not help."""
    backoff = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (tries - 1)) * random.uniform(0.75, 1.25)
    if isinstance(error, openai.APIConnectionError):
        return backoff
    if not isinstance(error, openai.APIStatusError):
        return None
    if error.code == "insufficient_quota":
        return None
    if error.status_code not in (408, 409, 429) and error.status_code < 500:
        return None
    try:
        return max(0.0, float(error.response.headers["retry-after"]))
    except (KeyError, ValueError):
        return backoff


def _server_message(error: openai.APIError) -> str:
    body = error.body
    if isinstance(body, Mapping) and isinstance(body.get("message"), str):
        return str(body["message"])
    return error.message


def _offered(client: openai.OpenAI) -> str:
    """Say which models a server offers, where it tells."""
    try:
        names = sorted(model.id for model in client.models.list())
    except (openai.APIError, ValueError):
        return ""
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"; the server offers: {shown}" if names else ""


def _completion(answer: ChatCompletion, seconds: float) -> Completion:
    text = answer.choices[0].message.content if answer.choices else None
    return Completion(
        text=text or "",
        model=answer.model,
        tokens=answer.usage.total_tokens if answer.usage else 0,
        seconds=seconds,
    )
