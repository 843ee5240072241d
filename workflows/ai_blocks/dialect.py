"""How a server wants requests of the OpenAI protocol to be written: learned from what it refuses, and kept."""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workflows.common.files import write_text_atomically

Message = dict[str, str]
Format = Literal["json_schema", "plain_json_schema", "json_object", "text"]

# From the strictest way to hold a server to the output format to none at all.
FORMATS: tuple[Format, ...] = ("json_schema", "plain_json_schema", "json_object", "text")
# Keywords that OpenAI's strict mode refuses; the answer is checked against them in any case.
LENGTH_KEYWORDS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "pattern"})
# A refusal that names none of these is not about the format. Words of English count where they are quoted.
_ABOUT_FORMAT = re.compile(
    r"response.?format|schema|grammar|json|"
    r"additionalproperties|minlength|maxlength|minitems|maxitems|uniqueitems|anyof|oneof|allof|\$ref|\$defs|"
    r"[\"'`](?:minimum|maximum|pattern|enum|const|items|properties)[\"'`]"
)
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
        if not self.reasons and ("max_tokens" in reason or "max_completion_tokens" in reason):
            return self.model_copy(update={"reasons": True})
        if self.takes_temperature and "temperature" in reason:
            return self.model_copy(update={"takes_temperature": False})
        position = FORMATS.index(self.format)
        if position + 1 == len(FORMATS) or not _ABOUT_FORMAT.search(reason):
            return None
        return self.model_copy(update={"format": FORMATS[position + 1]})


class DialectBook:
    """The dialects of servers, kept so that not every process is refused first.

    The format is kept for each schema: a server that refuses one of them may take the others.

    Args:
        folder: Where they are; small files, one a server and model, and one for each of its schemas.
        server: Address and model.
    """

    def __init__(self, folder: Path, server: str):
        self._folder = folder
        self._server = server

    def read(self, schema: Mapping[str, Any]) -> Dialect:
        """Return what is known of the server; a new one is taken to understand everything."""
        try:
            return Dialect.model_validate(_kept(self._path(None)) | _kept(self._path(schema)))
        except ValidationError:
            return Dialect()

    def write(self, schema: Mapping[str, Any], dialect: Dialect, before: Dialect) -> None:
        """Keep what has changed in a dialect that worked."""
        for path, fields in ((self._path(schema), {"format"}), (self._path(None), {"reasons", "takes_temperature"})):
            if (content := dialect.model_dump_json(include=fields)) != before.model_dump_json(include=fields):
                write_text_atomically(path, content)

    def _path(self, schema: Mapping[str, Any] | None) -> Path:
        name = json.dumps([self._server, schema], sort_keys=True)
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def _kept(path: Path) -> dict[str, Any]:
    try:
        if time.time() - path.stat().st_mtime < KEPT_SECONDS:
            content = json.loads(path.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        pass
    return {}


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
