"""How a server wants requests of the OpenAI protocol to be written: learned from what it refuses, and kept."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workflows.files import write_text_atomically

Message = dict[str, str]
Format = Literal["json_schema", "plain_json_schema", "json_object", "text"]

# From the strictest way to hold a server to the output format to none at all.
FORMATS: tuple[Format, ...] = ("json_schema", "plain_json_schema", "json_object", "text")
# Keywords that OpenAI's strict mode refuses; the answer is checked against them in any case.
LENGTH_KEYWORDS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "pattern"})
# Models that want `max_completion_tokens` count their reasoning in it.
REASONING_TOKENS = 2048
# After this the strictest way is tried again: the server may have learned it.
KEPT_SECONDS = 24 * 3600


class Dialect(BaseModel):
    """What is left out of a request, or said otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format = "json_schema"
    reasons: bool = False
    takes_temperature: bool = True

    def request(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> dict[str, Any]:
        """Write a request: the arguments of `chat.completions.create` but the model."""
        request: dict[str, Any] = {"messages": list(messages)}
        if self.reasons:
            request["max_completion_tokens"] = max_tokens + REASONING_TOKENS
        else:
            request["max_tokens"] = max_tokens
        if self.takes_temperature:
            request["temperature"] = temperature
        if self.format in ("json_schema", "plain_json_schema"):
            sent = dict(schema) if self.format == "json_schema" else _without_lengths(schema)
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": sent, "strict": True},
            }
            return request
        if self.format == "json_object":
            request["response_format"] = {"type": "json_object"}
        rule = f"Answer with nothing but one JSON object that fits this JSON Schema: {json.dumps(schema)}"
        request["messages"] = [{"role": "system", "content": rule}, *messages]
        return request

    def adapted(self, refusal: str) -> "Dialect | None":
        """Return how to ask instead, None where the refusal names nothing that can be said otherwise."""
        reason = refusal.casefold()
        if not self.reasons and "max_completion_tokens" in reason:
            return self.model_copy(update={"reasons": True})
        if self.takes_temperature and "temperature" in reason:
            return self.model_copy(update={"takes_temperature": False})
        position = FORMATS.index(self.format)
        if position + 1 == len(FORMATS):
            return None
        return self.model_copy(update={"format": FORMATS[position + 1]})


class DialectBook:
    """The dialects of servers, kept so that not every process is refused first.

    Args:
        folder: Where they are; one small file a server and model.
        server: Address and model.
    """

    def __init__(self, folder: Path, server: str):
        self._path = folder / f"{hashlib.sha256(server.encode()).hexdigest()[:16]}.json"

    def read(self) -> Dialect:
        """Return what is known of the server; a new one is taken to understand everything."""
        try:
            if time.time() - self._path.stat().st_mtime < KEPT_SECONDS:
                return Dialect.model_validate_json(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError):
            pass
        return Dialect()

    def write(self, dialect: Dialect) -> None:
        """Keep a dialect that worked."""
        write_text_atomically(self._path, dialect.model_dump_json())


def _without_lengths(schema: Any) -> Any:
    """Return a JSON Schema without the keywords that bound lengths and ranges."""
    if isinstance(schema, Mapping):
        # Names of properties are no keywords.
        return {
            key: {name: _without_lengths(part) for name, part in value.items()}
            if key == "properties"
            else _without_lengths(value)
            for key, value in schema.items()
            if key not in LENGTH_KEYWORDS
        }
    return [_without_lengths(part) for part in schema] if isinstance(schema, list) else schema
