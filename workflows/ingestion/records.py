"""The contract of one company: its fields, and reading them as a person would."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Literal

import msgspec
import pyarrow as pa

MAX_TEXT_LENGTH = 10_000
MAX_WHOLE_NUMBER = 2**63 - 1
# Exact for amounts of money; Arrow has 38 digits, and a difference needs one more than its numbers.
DECIMAL = pa.decimal128(37, 18)
MAX_NUMBER = Decimal(10) ** 19
_EXACT = Context(prec=DECIMAL.precision)

_NUMBER = re.compile(r"[+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
# "11-50", "10,001+", "> 5000": no number, but no error either.
_RANGE = re.compile(r"[<>≥≤~]?\s*[\d,]+\s*(?:\+|(?:-|–|—|to)\s*[\d,]+)|[<>≥≤]\s*[\d,]+")

Record = Any
"""A record: bytes of JSON that are not decoded yet, or a decoded value. See `decode_record`."""

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True)
class Field:
    """Rules of one field of a company."""

    name: str
    kind: Literal["id", "text", "text or number", "count", "amount"]
    required: bool = False


FIELDS = (
    Field("id", "id", required=True),
    Field("name", "text", required=True),
    Field("address", "text"),
    Field("zip", "text or number"),
    Field("country", "text"),
    Field("employeeCount", "count"),
    Field("industry", "text"),
    Field("marketCap", "amount"),
    Field("domain", "text"),
    Field("logo", "text"),
    Field("ceoName", "text"),
)
NAMES = tuple(one.name for one in FIELDS)


def decode_record(record: Record) -> Any:
    """Decode a record; fractions become `Decimal`, whole numbers stay exact.

    Raises:
        ValueError: it is not text.
    """
    if not isinstance(record, msgspec.Raw):
        return record
    try:
        return _decoder.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def parse_company(record: object, names: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Read one decoded record as a person would.

    Numbers may be texts ("1,234"); a range or an open number ("11-50", "10,001+") counts as missing.

    Returns:
        The values of the fields, the reason of every field that is wrong, and the fields that hold a range.
    """
    if not isinstance(record, Mapping):
        return {}, {"record": f"is no object but {type(record).__name__}"}, []
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    ranges: list[str] = []
    for one in FIELDS:
        raw = value_at(record, names.get(one.name, one.name))
        try:
            if one.kind in ("count", "amount") and isinstance(raw, str) and _RANGE.fullmatch(raw.strip()):
                ranges.append(one.name)
                raw = None
            value = None if raw is None else _PARSERS[one.kind](raw)
            if value is None and one.required:
                raise ValueError("is missing")
            values[one.name] = value
        except ValueError as error:
            problems[one.name] = str(error)
    return values, problems, ranges


def value_at(record: Mapping[str, Any], path: str) -> Any:
    """Return the value with a name or at a path (`profile.name`), None where there is none."""
    if path in record or "." not in path:
        return record.get(path)
    first, _, rest = path.partition(".")
    inner = record.get(first)
    return value_at(inner, rest) if isinstance(inner, Mapping) else None


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        raise ValueError(f"is no text but {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no text") from None
    if len(value) > MAX_TEXT_LENGTH:
        raise ValueError(f"is longer than {MAX_TEXT_LENGTH:,} characters")
    return value.strip() or None


def _text_or_number(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(_whole(value))
    return _text(value)


def _id(value: object) -> int | str | None:
    return _whole(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError(f"is no number but {type(value).__name__}")
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"{text!r:.40} is no number")
        value = Decimal(text.replace(",", ""))
    number = Decimal(value)
    if number < 0:
        raise ValueError("is negative")
    if number >= MAX_NUMBER:
        raise ValueError("is larger than any number of companies or money")
    return number.quantize(Decimal(1).scaleb(-DECIMAL.scale), context=_EXACT)


def _count(value: object) -> Decimal | None:
    number = _number(value)
    if number is not None and number > MAX_WHOLE_NUMBER:
        raise ValueError("is larger than any number of employees")
    return number


def _whole(value: int) -> int:
    if abs(value) > MAX_WHOLE_NUMBER:
        raise ValueError("is larger than any number of 64 bits")
    return value


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "id": _id,
    "text": _text,
    "text or number": _text_or_number,
    "count": _count,
    "amount": _number,
}
