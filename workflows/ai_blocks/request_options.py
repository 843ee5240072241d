"""What requests to a server of the OpenAI protocol contain, and what to change when it refuses one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workflows.ai_blocks.prompts import Message, as_json

# From the strictest way to ask for the output format to none at all.
FORMATS = ("json_schema", "plain_json_schema", "json_object", "text")
# Keywords that OpenAI's strict mode refuses; the answer is checked against them in any case.
LENGTH_KEYWORDS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "pattern"})
# A refusal that names none of these is not about the format. Common English words count only where they are quoted.
_ABOUT_FORMAT = re.compile(
    r"response.?format|schema|grammar|json|additionalproperties|(?:min|max)(?:length|items)|uniqueitems|anyof|oneof|allof"
    r"|\$ref|\$defs|[\"'`](?:minimum|maximum|pattern|enum|const|items|properties)[\"'`]"
)
# Models that want `max_completion_tokens` count their reasoning in it.
REASONING_TOKENS = 2048


@dataclass(frozen=True)
class RequestOptions:
    """What requests to a server contain; `format` is one of `FORMATS`."""

    format: str = FORMATS[0]
    has_reasoning: bool = False
    takes_temperature: bool = True

    def request(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> dict[str, Any]:
        """Return the body of a request for a chat completion, except for the model."""
        request: dict[str, Any] = {"messages": list(messages)}
        if self.has_reasoning:
            request["max_completion_tokens"] = max_tokens + REASONING_TOKENS
        else:
            request["max_tokens"] = max_tokens
        if self.takes_temperature:
            request["temperature"] = temperature
        if self.format.endswith("json_schema"):
            sent = schema if self.format == "json_schema" else _without_lengths(schema)
            json_schema = {"name": "answer", "schema": sent, "strict": True}
            return request | {"response_format": {"type": "json_schema", "json_schema": json_schema}}
        if self.format == "json_object":
            request["response_format"] = {"type": "json_object"}
        rule = f"Answer with nothing but one JSON object that fits this JSON Schema: {as_json(schema)}"
        system, *others = messages
        return request | {"messages": [{**system, "content": f"{system['content']}\n{rule}"}, *others]}

    def adapted(self, refusal: str) -> "RequestOptions | None":
        """Return the options for the next request, None where the refusal names nothing that can be changed."""
        reason = refusal.casefold()
        if not self.has_reasoning and ("max_tokens" in reason or "max_completion_tokens" in reason):
            return replace(self, has_reasoning=True)
        if self.takes_temperature and "temperature" in reason:
            return replace(self, takes_temperature=False)
        if self.format == FORMATS[-1] or not _ABOUT_FORMAT.search(reason):
            return None
        return replace(self, format=FORMATS[FORMATS.index(self.format) + 1])


def _without_lengths(schema: Any) -> Any:
    """Return a JSON Schema without the keywords that bound lengths and ranges; names of properties are no keywords."""
    if isinstance(schema, list):
        return [_without_lengths(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    plain = {key: _without_lengths(part) for key, part in schema.items() if key not in LENGTH_KEYWORDS}
    if "properties" in schema:
        plain["properties"] = {name: _without_lengths(part) for name, part in schema["properties"].items()}
    return plain
