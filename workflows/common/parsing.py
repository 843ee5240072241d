"""Values from outside, read strictly."""

import json
import math
from typing import Any, NoReturn

from workflows.common.errors import InvalidInputError


def whole_number(name: str, value: object, minimum: int = 0, maximum: int | None = None) -> int:
    """Read a runtime variable that is a whole number, or its digits as text, as a form sends it.

    Raises:
        InvalidInputError: `.fields` names the variable and says what it must be.
    """
    limits = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    reason = f"must be a whole number {limits}, not {value!r:.80}"
    problem = InvalidInputError("A variable cannot be used", {name: reason})
    match value:
        case bool():
            raise problem
        case int():
            number = value
        case float() if value.is_integer():
            number = int(value)
        case str() if value.strip().isascii() and value.strip().isdigit():
            number = int(value)
        case _:
            raise problem
    if number < minimum or (maximum is not None and number > maximum):
        raise problem
    return number


def strict_json(text: str) -> Any:
    """Read JSON as the standard has it: no NaN, no infinity, also not as a number too large for a float.

    Raises:
        ValueError: it is not JSON, or holds such a number.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def has_nul(value: Any) -> bool:
    """Whether a value of JSON, or a text in it, holds the character NUL."""
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(has_nul(name) or has_nul(inner) for name, inner in value.items())
        case list():
            return any(map(has_nul, value))
        case _:
            return False


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number
