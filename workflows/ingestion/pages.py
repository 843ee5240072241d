"""The pages of an API: where an answer holds its records, and how to get from one page to the next.

The records of a page are left undecoded until they are used, so that an answer of a million records takes little more
memory than its bytes.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import httpx
import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workflows.common.errors import InvalidInputError
from workflows.common.http import Answer, Get

# Lists and values deeper than this are not looked for.
MAX_DEPTH = 4
MAX_PATHS_NAMED = 5
ADDRESS_KEYS = ("next", "next_url", "nexturl", "next_link", "nextlink", "@odata.nextlink", "next_page_url", "next_href")
# The name of the parameter that takes the cursor, by the name under which an answer gives it.
CURSOR_PARAMETERS = {
    "next_cursor": "cursor",
    "nextcursor": "cursor",
    "endcursor": "after",
    "end_cursor": "after",
    "after": "after",
    "next_page_token": "page_token",
    "nextpagetoken": "pageToken",
    "next_token": "next_token",
    "nexttoken": "nextToken",
    "continuation": "continuation",
    "continuationtoken": "continuationToken",
}
PAGE_KEYS = ("page", "current_page", "currentpage", "page_number", "pagenumber")
PAGE_COUNT_KEYS = (
    *("total_pages", "totalpages", "page_count", "pagecount", "pages", "last_page", "lastpage", "num_pages"),
    "x-total-pages",
)
OFFSET_KEYS = ("offset", "skip", "start")
TOTAL_KEYS = (
    *("total", "total_count", "totalcount", "total_results", "totalresults", "total_records", "count", "@odata.count"),
    *("x-total-count", "x-total"),
)
HEADERS_READ = ("x-total-pages", "x-total-count", "x-total")
MORE_KEYS = ("has_more", "hasmore", "has_next", "hasnext", "has_next_page", "hasnextpage")

Record = Any
"""A record: bytes of JSON that are not decoded yet, or a decoded value. See `decode_record`."""

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)


class Pagination(BaseModel):
    """How to get to the next page, where the answers do not say: the setting `COMPANIES_API_PAGINATION`.

    Attributes:
        type: `link`: header `Link: rel="next"`; `next`: an address in the answer; `cursor`: a value of the answer is
            the parameter of the next request; `page` and `offset`: a parameter is counted up; `none`: one page.
        path: Where the answer has the next address or the cursor: `paging.next`.
        parameter: Name of the parameter, for `cursor`, `page` and `offset`.
        start: Its value for the first page; by default 1 for `page`, 0 for `offset`.
        total: Where the answer has the number of all records; null switches the check off.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["link", "next", "cursor", "page", "offset", "none"]
    path: str | None = None
    parameter: str | None = None
    start: int | None = Field(default=None, ge=0)
    total: str | None = ""

    @classmethod
    def from_setting(cls, value: Mapping[str, Any] | None) -> "Pagination | None":
        """Read the setting.

        Raises:
            InvalidInputError: a key is wrong or missing; names it.
        """
        if value is None:
            return None
        try:
            found = cls.model_validate(value)
        except ValidationError as error:
            fields = {".".join(map(str, issue["loc"])): issue["msg"] for issue in error.errors()}
            raise InvalidInputError("COMPANIES_API_PAGINATION is wrong", fields) from None
        needed = {"next": ("path",), "cursor": ("path", "parameter"), "page": ("parameter",), "offset": ("parameter",)}
        missing = [name for name in needed.get(found.type, ()) if not getattr(found, name)]
        if missing:
            raise InvalidInputError("COMPANIES_API_PAGINATION is wrong", dict.fromkeys(missing, "is missing"))
        return found


@dataclass(frozen=True)
class Page:
    """One answer: its records, its other values by their paths, and the address in its `Link` header."""

    records: Sequence[Record]
    values: Mapping[str, Any]
    next_link: str | None = None


NextAddress = Callable[[Page, str, int], str | None]
"""Returns the address after a page, None after the last one: of the page, its address, records read so far."""


def fetch_pages(
    get: Get, url: str, records_path: str | None = None, pagination: Pagination | None = None
) -> Iterator[Sequence[Record]]:
    """Yield the records of each page, until the last.

    Args:
        get: Asks an address, see `workflows.common.http.requests_to`.
        url: Address of the first page.
        records_path: Where an answer has the list of records: `results.items`; by default the only list of objects.
        pagination: How to get to the next page; by default as the first answer says.

    Raises:
        InvalidInputError: an answer is not JSON, has no list of records or several, names a foreign host as its next
            page, repeats a page, or announces more than there was to read; says what to set.
        ServiceError: see `requests_to`.
    """
    next_address: NextAddress | None = None
    address: str | None = _first_address(url, pagination)
    seen: dict[bytes, int] = {}
    read = number = 0
    while address is not None:
        number += 1
        page = read_page(get(address), records_path)
        if (first := seen.setdefault(_fingerprint(page.records), number)) != number:
            raise InvalidInputError(
                f"Page {number} of the companies API repeats page {first}: the way to the next page is another one; "
                "check COMPANIES_API_PAGINATION"
            )
        yield page.records
        read += len(page.records)
        if next_address is None:
            next_address = _configured(pagination) if pagination is not None else _detected(page, url)
        following = next_address(page, address, read)
        address = None if following is None else _checked(following, address)
    _check_complete(page, read, pagination, pagination is not None or next_address is not _nowhere)


def read_page(answer: Answer, records_path: str | None = None) -> Page:
    """Find the records and the other values of an answer; see `fetch_pages`."""
    try:
        # Checks the structure of the whole without decoding it.
        root = msgspec.json.decode(answer.content, type=msgspec.Raw)
        lists, values = _explore(root)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            # Reads what is no text, as half of a surrogate pair, so that only its record is set aside.
            root = json.loads(answer.content, parse_float=Decimal)
            lists, values = _explore(root)
        except (ValueError, RecursionError):
            raise InvalidInputError("The companies API did not answer with JSON; check COMPANIES_API_URL") from None
    values |= {name: answer.headers[name] for name in HEADERS_READ if name in answer.headers}
    return Page(_records(lists, records_path), values, answer.next_link)


def decode_record(record: Record) -> Any:
    """Decode a record; fractions become `Decimal`, whole numbers stay exact.

    Raises:
        ValueError: it is not text.
    """
    if not isinstance(record, msgspec.Raw):
        return record
    try:
        return _decoder.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def _explore(root: Any) -> tuple[dict[str, Sequence[Record]], dict[str, Any]]:
    """Return all lists and all other values of an answer by their paths, objects within lists left out."""
    lists: dict[str, Sequence[Record]] = {}
    values: dict[str, Any] = {}

    def look(node: Any, path: tuple[str, ...]) -> None:
        kind = _kind(node)
        if kind == "[":
            lists[".".join(path)] = (
                node if isinstance(node, list) else msgspec.json.decode(node, type=list[msgspec.Raw])
            )
        elif kind == "{" and len(path) < MAX_DEPTH:
            parts = node if isinstance(node, dict) else msgspec.json.decode(node, type=dict[str, msgspec.Raw])
            for name, part in parts.items():
                look(part, (*path, name))
        elif kind == "":
            values[".".join(path)] = node if not isinstance(node, msgspec.Raw) else _decoder.decode(node)

    look(root, ())
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


def _first_address(url: str, pagination: Pagination | None) -> str:
    if pagination is None or pagination.start is None or pagination.parameter is None:
        return url
    return _with_parameter(url, pagination.parameter, pagination.start)


def _configured(pagination: Pagination) -> NextAddress:
    path, parameter = pagination.path or "", pagination.parameter or ""
    start = pagination.start
    return {
        "link": lambda: _by_link,
        "next": lambda: _by_address(path),
        "cursor": lambda: _by_cursor(path, parameter),
        "page": lambda: _by_page(parameter, 1 if start is None else start),
        "offset": lambda: _by_offset(parameter, start or 0),
        "none": lambda: _nowhere,
    }[pagination.type]()


def _detected(page: Page, url: str) -> NextAddress:
    """Return how the first page says that one gets to the next."""
    if page.next_link:
        return _by_link
    for path, value in _named(page, (*ADDRESS_KEYS, *CURSOR_PARAMETERS)):
        if isinstance(value, str) and value.startswith(("http://", "https://", "/", "?")):
            return _by_address(path)
        name = path.rpartition(".")[2].lower()
        if value not in (None, "", False) and name in CURSOR_PARAMETERS:
            return _by_cursor(path, CURSOR_PARAMETERS[name])
    pages = _first_number(page, PAGE_COUNT_KEYS)
    current = _first_number(page, PAGE_KEYS)
    total = _first_number(page, TOTAL_KEYS)
    # Addresses tell the name of the parameter, and a service that counts from 0.
    if (pages is not None and pages > 1) or (current is not None and total is not None and total > len(page.records)):
        return _by_page(_parameter_in(url, ("page", "p", "page_number")) or "page", 1 if current is None else current)
    offset = _named(page, OFFSET_KEYS)
    if total is not None and total > len(page.records) and offset:
        return _by_offset(offset[0][0].rpartition(".")[2], 0)
    return _nowhere


def _by_link(page: Page, address: str, read: int) -> str | None:  # noqa: ARG001
    return page.next_link


def _nowhere(page: Page, address: str, read: int) -> str | None:  # noqa: ARG001
    return None


def _by_address(path: str) -> NextAddress:
    def following(page: Page, address: str, read: int) -> str | None:  # noqa: ARG001
        value = page.values.get(path)
        return str(value) if value else None

    return following


def _by_cursor(path: str, parameter: str) -> NextAddress:
    def following(page: Page, address: str, read: int) -> str | None:  # noqa: ARG001
        value = page.values.get(path)
        if value in (None, "", False) or not page.records or _says_no_more(page):
            return None
        return _with_parameter(address, parameter, value)

    return following


def _by_page(parameter: str, start: int) -> NextAddress:
    pages_read = 0

    def following(page: Page, address: str, read: int) -> str | None:
        nonlocal pages_read
        pages_read += 1
        pages, total = _first_number(page, PAGE_COUNT_KEYS), _first_number(page, TOTAL_KEYS)
        is_last = pages is not None and pages_read >= pages
        if not page.records or is_last or (pages is None and total is not None and read >= total):
            return None
        return None if _says_no_more(page) else _with_parameter(address, parameter, start + pages_read)

    return following


def _by_offset(parameter: str, start: int) -> NextAddress:
    def following(page: Page, address: str, read: int) -> str | None:
        total = _first_number(page, TOTAL_KEYS)
        if not page.records or (total is not None and read >= total) or _says_no_more(page):
            return None
        return _with_parameter(address, parameter, start + read)

    return following


def _checked(following: str, address: str) -> str:
    """Return the whole address of the next page, which has to be on the same host: the request may hold a key.

    Raises:
        InvalidInputError: it is on another host.
    """
    try:
        here, there = httpx.URL(address), httpx.URL(address).join(following)
    except httpx.InvalidURL:
        raise InvalidInputError("The companies API names a next page that is no address") from None
    if (there.host, there.port) != (here.host, here.port) and (there.host, there.scheme) != (here.host, "http"):
        raise InvalidInputError(
            f"The companies API names a next page on another host, {there.netloc.decode('ascii', 'replace')[:80]}, "
            "which is not asked: the request may hold a key; check COMPANIES_API_URL"
        )
    # Services behind a proxy often name themselves by http.
    return str(there.copy_with(scheme=here.scheme, port=here.port))


def _check_complete(page: Page, read: int, pagination: Pagination | None, is_followed: bool) -> None:
    """Refuse what was read where the last page announces more.

    Raises:
        InvalidInputError: says how much is missing.
    """
    how = "say in COMPANIES_API_PAGINATION how one gets to the next page"
    total_path = "" if pagination is None else pagination.total
    total: int | None = None
    if total_path is not None:
        total = _number(page.values.get(total_path)) if total_path else _first_number(page, TOTAL_KEYS)
    if total is not None and total > read:
        raise InvalidInputError(f"The companies API announces {total} companies, but {read} could be read; {how}")
    has_more = any(value is True for _, value in _named(page, MORE_KEYS))
    if has_more or (not is_followed and any(value for _, value in _named(page, (*ADDRESS_KEYS, *CURSOR_PARAMETERS)))):
        raise InvalidInputError(f"The companies API announces more than the {read} companies that were read; {how}")


def _says_no_more(page: Page) -> bool:
    return any(value is False for _, value in _named(page, MORE_KEYS))


def _named(page: Page, names: Sequence[str]) -> list[tuple[str, Any]]:
    """Return path and value of what has one of the names, also as `{"next": {"href": …}}`, those higher up first."""
    found = []
    for path, value in page.values.items():
        *parents, name = path.lower().split(".")
        if name in names or (name in ("href", "url") and parents and parents[-1] in names):
            found.append((path, value))
    return sorted(found, key=lambda entry: entry[0].count("."))


def _first_number(page: Page, names: Sequence[str]) -> int | None:
    return next((number for _, value in _named(page, names) if (number := _number(value)) is not None), None)


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _with_parameter(url: str, name: str, value: Any) -> str:
    return str(httpx.URL(url).copy_set_param(name, str(value)))


def _parameter_in(url: str, names: Sequence[str]) -> str | None:
    given = httpx.URL(url).params
    return next((name for name in names if name in given), None)


def _fingerprint(records: Sequence[Record]) -> bytes:
    digest = hashlib.blake2b()
    for record in records:
        digest.update(record if isinstance(record, msgspec.Raw) else repr(record).encode("utf-8", "backslashreplace"))
        digest.update(b"\n")
    return digest.digest()
