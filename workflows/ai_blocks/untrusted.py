"""Text from outside on its way to a language model: data that cannot pose as part of the conversation."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# Special tokens of chat templates: <|im_start|>, <｜User｜>, <s>, [INST], <<SYS>>, <start_of_turn>, ...
# Some servers read them as the start of another turn wherever they stand.
_TEMPLATE_TOKENS = re.compile(
    r"<\s*[|｜].{0,40}?[|｜]\s*>|<\s*/?\s*(?:s|think|tool_call|start_of_turn|end_of_turn|bos|eos)\s*>"
    r"|\[\s*/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\s*\]|<<\s*/?\s*SYS\s*>>",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    """Remove control, format and unassigned characters; white space other than line ends becomes a space."""
    kept = (" " if char.isspace() and char != "\n" else char for char in text)
    return "".join(char for char in kept if char == "\n" or unicodedata.category(char)[0] != "C")


def as_data(text: str) -> str:
    """Return the printable part of a text, without special tokens of chat templates."""
    text = printable(text)
    # Full-width letters could hide a token. Without a token the text stays as written: NFKC would turn "5²" into "52".
    normalised = unicodedata.normalize("NFKC", text)
    return _TEMPLATE_TOKENS.sub(" ", normalised) if _TEMPLATE_TOKENS.search(normalised) else text


def sanitised(value: Any) -> Any:
    """Return a JSON value in which every text is passed through `as_data`."""
    if isinstance(value, str):
        return as_data(value)
    # To see that a number is no mapping, Python would look through all classes of mappings, once in each process.
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, dict | Mapping):
        return {str(key): sanitised(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [sanitised(part) for part in value]
    return value
