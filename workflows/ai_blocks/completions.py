"""Read what servers and models write: the text of an answer wherever it stands, and the JSON object in it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import json_repair

_TAGS = "think|thinking|thought|thoughts|reasoning|reflection|seed:think"
_THOUGHTS = re.compile(rf"<({_TAGS})>.*?</\1>|\[THINK\].*?\[/THINK\]|◁think▷.*?◁/think▷", re.DOTALL | re.IGNORECASE)
# The beginning of the thoughts may stand in the chat template, so that only their end is written.
_END_OF_THOUGHTS = re.compile(
    rf"</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>|<\|START_RESPONSE\|>",
    re.IGNORECASE,
)
_UNFINISHED_THOUGHTS = re.compile(
    rf"(?:<(?:{_TAGS})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis|<\|START_THINKING\|>).*",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class Completion:
    """One answer of a model."""

    text: str  # What it wrote; empty where it wrote nothing.
    model: str  # Name that the server gave to the model that answered.
    input_tokens: int  # Tokens read, as counted by the server; 0 where it does not say.
    output_tokens: int  # Tokens written.
    seconds: float  # Time of the request that was answered, without waiting and failed requests.
    is_cut: bool = False  # Whether it ended at the limit of tokens.


def read_completion(body: Any, model: str, seconds: float) -> Completion:
    """Read the body of a chat completion as loosely as servers write it.

    The answer may stand in `content` as a text or as parts, in the arguments of a tool call, or in the thoughts.
    """
    message = at(body, "choices", 0, "message")
    arguments = at(message, "tool_calls", 0, "function", "arguments")
    places = (at(message, "content"), arguments, at(message, "reasoning_content"), at(message, "reasoning"))
    return Completion(
        text=next((text for text in map(_text, places) if text.strip()), ""),
        model=str(at(body, "model") or model),
        input_tokens=_count(at(body, "usage", "prompt_tokens")),
        output_tokens=_count(at(body, "usage", "completion_tokens")),
        seconds=seconds,
        is_cut=at(body, "choices", 0, "finish_reason") == "length",
    )


def at(value: Any, *path: str | int) -> Any:
    """Return what stands at a path of keys and positions in JSON, None where there is nothing."""
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return None
    return value


def parse_json_object(text: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the JSON object in a model's text, None if there is none.

    It may stand after thoughts, in a code fence or between sentences, and have raw newlines in its texts. Of several
    objects the last one with any of the fields counts; keys that are not among the fields are removed.
    """
    answer = _without_thoughts(text)
    start, end = answer.find("{"), answer.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        value = json_repair.loads(answer[start : end + 1])
        # Refuses NaN, which is no JSON.
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    objects = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
    fitting = [one for one in objects if set(one) & set(fields)]
    return {key: part for key, part in fitting[-1].items() if key in fields} if fitting else None


def has_begun_object(text: str) -> bool:
    """Whether a model's text has come to its answer, rather than to thoughts alone."""
    return "{" in _without_thoughts(text)


def _without_thoughts(text: str) -> str:
    answer = _END_OF_THOUGHTS.split(_THOUGHTS.sub("", text))[-1]
    return _UNFINISHED_THOUGHTS.sub("", answer)


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _text(content: Any) -> str:
    """Return the text of a message, which may be a list of parts, or the arguments of a tool call as an object."""
    if isinstance(content, list):
        return "".join(_text(at(part, "text")) for part in content if at(part, "type") in ("text", "output_text"))
    if isinstance(content, Mapping):
        return json.dumps(content)
    return content if isinstance(content, str) else ""
