"""Text from outside on its way to a language model: data that cannot pose as part of the conversation."""

import re
import unicodedata

# Special tokens of chat templates: <|im_start|>, <｜User｜>, <s>, [INST], <<SYS>>, <start_of_turn>, … A server may
# read them as the start of another turn wherever they stand.
_ROLE_MARKERS = re.compile(
    r"<\s*[|｜].{0,40}?[|｜]\s*>|<\s*/?\s*(?:s|think|tool_call|start_of_turn|end_of_turn|bos|eos)\s*>"
    r"|\[\s*/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\s*\]|<<\s*/?\s*SYS\s*>>",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    """Drop control, format and unassigned characters; what is white space, line ends aside, becomes a space."""
    kept = (" " if char.isspace() and char != "\n" else char for char in text)
    return "".join(char for char in kept if char == "\n" or unicodedata.category(char)[0] != "C")


def as_data(text: str) -> str:
    """Return a text that is printable and without the special tokens of chat templates."""
    text = printable(text)
    # Full-width letters would hide a token; where there is none, what is written stays as it is ("5²" is not "52").
    normalised = unicodedata.normalize("NFKC", text)
    return _ROLE_MARKERS.sub(" ", normalised) if _ROLE_MARKERS.search(normalised) else text
