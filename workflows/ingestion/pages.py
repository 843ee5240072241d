"""One answer of an API: where it holds its records, and what else it says.

The records are left undecoded until they are used, so that an answer of a million records takes little more memory than
its bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from workflows.common.errors import InvalidInputError
from workflows.common.http import Answer
from workflows.ingestion.records import Record, decode_record

# Lists and values deeper than this are not looked for.
MAX_DEPTH = 4
MAX_PATHS_NAMED = 5

_outermost: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
    dict[str, msgspec.Raw] | list[msgspec.Raw] | str | float | bool | None
)
HEADERS_READ = ("x-total-pages", "x-total-count", "x-total")


@dataclass(frozen=True)
class Page:
    """One answer: its records, its other values by their paths, and the address in its `Link` header."""

    records: Sequence[Record]
    values: Mapping[str, Any]
    next_link: str | None = None

    def named(self, names: Sequence[str]) -> list[tuple[str, Any]]:
        """Return path and value of what has one of the names, also as `{"next": {"href": …}}`, the highest first."""
        found = []
        for path, value in self.values.items():
            *parents, name = path.lower().split(".")
            if name in names or (name in ("href", "url") and parents and parents[-1] in names):
                found.append((path, value))
        return sorted(found, key=lambda entry: entry[0].count("."))

    def first_number(self, names: Sequence[str]) -> int | None:
        """Return the first whole number that has one of the names."""
        return next((number for _, value in self.named(names) if (number := as_number(value)) is not None), None)


def read_page(answer: Answer, records_path: str | None = None) -> Page:
    """Find the records and the other values of an answer; see `fetch_pages`."""
    try:
        # Checks the structure of the whole, and decodes only its outermost object or list.
        root = _outermost.decode(answer.content)
        lists, values = _explore(root)
    except (ValueError, RecursionError):
        try:
            # Reads what is no text, as half of a surrogate pair, so that only its record is set aside.
            root = json.loads(answer.content, parse_float=Decimal)
            lists, values = _explore(root)
        except (ValueError, RecursionError):
            raise InvalidInputError("The companies API did not answer with JSON; check COMPANIES_API_URL") from None
    values |= {name: answer.headers[name] for name in HEADERS_READ if name in answer.headers}
    return Page(_records(lists, records_path), values, answer.next_link)


def _explore(root: Any) -> tuple[dict[str, Sequence[Record]], dict[str, Any]]:
    """Return all lists and all other values of an answer by their paths, objects within lists left out."""
    lists: dict[str, Sequence[Record]] = {}
    values: dict[str, Any] = {}
    # Not by a function that calls itself: as a closure it would keep the lists until the next garbage collection.
    nodes: list[tuple[Any, tuple[str, ...]]] = [(root, ())]
    for node, path in nodes:
        kind = _kind(node)
        if kind == "[":
            lists[".".join(path)] = (
                node if isinstance(node, list) else msgspec.json.decode(node, type=list[msgspec.Raw])
            )
        elif kind == "{" and len(path) < MAX_DEPTH:
            parts = node if isinstance(node, dict) else msgspec.json.decode(node, type=dict[str, msgspec.Raw])
            nodes += [(part, (*path, name)) for name, part in parts.items()]
        elif kind == "":
            values[".".join(path)] = decode_record(node)
    return lists, values


def _kind(node: Any) -> str:
    """Return "[" for a list, "{" for an object, "" for another value."""
    if isinstance(node, msgspec.Raw):
        first = bytes(memoryview(node)[:1]).decode("latin-1")
        return first if first in ("[", "{") else ""
    return "[" if isinstance(node, list) else "{" if isinstance(node, dict) else ""


def _records(lists: Mapping[str, Sequence[Record]], records_path: str | None) -> Sequence[Record]:
    if records_path is not None:
        if records_path not in lists:
            there = f"; lists are at {', '.join(sorted(lists)[:MAX_PATHS_NAMED])}" if lists else ""
            raise InvalidInputError(
                f"The companies API has no list at {records_path!r}; check COMPANIES_API_RECORDS{there}"
            )
        return lists[records_path]
    if "" in lists:
        return lists[""]
    of_objects = {path: found for path, found in lists.items() if found and _kind(found[0]) == "{"}
    candidates = of_objects or {path: found for path, found in lists.items() if not found}
    if not candidates:
        raise InvalidInputError(
            "The companies API has to answer with a list of records, alone or within an object; check COMPANIES_API_URL"
        )
    if len(candidates) > 1:
        raise InvalidInputError(
            f"The companies API answers with several lists, at {', '.join(sorted(candidates)[:MAX_PATHS_NAMED])}: "
            "name that of the companies in COMPANIES_API_RECORDS"
        )
    return next(iter(candidates.values()))


def as_number(value: Any) -> int | None:
    """Return a whole number, or its digits as text, as a number; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
