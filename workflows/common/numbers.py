"""Numbers in English texts: digits, words, percentages and common fractions, compared as a careful reader would."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_TEENS = "seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: number for number, word in enumerate(f"{_UNITS} {_TEENS}".split())}
_VALUES |= {word: 10 * number for number, word in enumerate(_TENS.split(), start=2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6}
_SHARES = {"half": 1 / 2, "third": 1 / 3, "quarter": 1 / 4, "fifth": 1 / 5, "tenth": 1 / 10}
_WORD = "|".join(sorted([*_VALUES, *_SCALES], key=len, reverse=True))
_NUMBER = re.compile(
    rf"(?P<count>\b(?:{_WORD}|a)[ -])?(?P<share>\b(?:{'|'.join(_SHARES)}))(?P<plural>s?)\b(?!\s+class)"
    rf"|(?P<words>\b(?:{_WORD})(?:(?:[ -]|,? and )(?:{_WORD}))*\b)"
    r"|(?P<digits>(?<![\w.])[-−]?\d+(?:,\d{3})*(?:\.\d+)?|\d+(?:\.\d+)?)",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\s*(?:%|per ?cent\b|percentage points?\b)", re.IGNORECASE)
SHARE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Number:
    """A number in a text: as written, its value, and the largest difference to the number that it rounds."""

    text: str
    value: float
    tolerance: float
    is_percent: bool = False
    is_share: bool = False

    def matches(self, known: float) -> bool:
        """Whether this is a known number, as it is, rounded, or as a percentage; the sign does not count."""
        forms = (known, 100 * known) if 0 < abs(known) < 1 else (known, known / 100) if self.is_share else (known,)
        return any(abs(abs(self.value) - abs(form)) <= self.tolerance + 1e-9 for form in forms)


def numbers_in(text: str) -> Iterator[Number]:
    """Yield the numbers of a text; ordinals and the pronoun "one" are left out."""
    for match in _NUMBER.finditer(text):
        written, is_percent = match.group(), _PERCENT.match(text, match.end()) is not None
        if match["share"]:
            share, count = match["share"].lower(), (match["count"] or "").strip(" -").lower()
            # "third" and "a fifth" may be ordinals; "two thirds", "one third" and "half" are shares.
            if share == "half" or match["plural"] or (count and count != "a"):
                yield Number(written, _SHARES[share] * _VALUES.get(count, 1), SHARE_TOLERANCE, is_share=True)
        elif match["words"]:
            if written.lower() != "one" or is_percent:
                yield Number(written, float(_value_of_words(written)), 0.5, is_percent)
        else:
            digits = written.replace(",", "").replace("−", "-")
            yield Number(written, float(digits), 0.5 * 10.0 ** -len(digits.partition(".")[2]), is_percent)


def unknown_number(text: str, known: Any) -> str | None:
    """Return the first number of a text that no known value has, None if there is none.

    Args:
        text: Text to check.
        known: JSON value; its numbers, also those within its texts, may be said.
    """
    values = list(_values(known))
    unknown = (number for number in numbers_in(text) if not any(number.matches(value) for value in values))
    return next((number.text.strip() for number in unknown), None)


def _values(known: Any) -> Iterator[float]:
    if isinstance(known, Mapping | list | tuple):
        for part in known.values() if isinstance(known, Mapping) else known:
            yield from _values(part)
    elif isinstance(known, str):
        yield from (number.value for number in numbers_in(known))
    elif isinstance(known, int | float) and not isinstance(known, bool) and math.isfinite(known):
        yield float(known)


def _value_of_words(text: str) -> int:
    total = current = 0
    for word in re.split(r"[ ,-]+", text.lower()):
        if word in _VALUES:
            current += _VALUES[word]
        elif word == "hundred":
            current = max(1, current) * 100
        elif word in _SCALES:
            total, current = total + max(1, current) * _SCALES[word], 0
    return total + current
