"""From one page of an API to the next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import httpx
import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workflows.common.errors import InvalidInputError, MissingAddressError
from workflows.common.http import Get
from workflows.ingestion.pages import Page, as_number, read_page
from workflows.ingestion.records import Record

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
MORE_KEYS = ("has_more", "hasmore", "has_next", "hasnext", "has_next_page", "hasnextpage")


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


SAMPLED_RECORDS = 20
# Services that filter after they have cut pages answer some without a record.
MAX_EMPTY_PAGES = 100

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
            page, repeats a page, goes on for ever with empty pages, or announces more than there was to read; says what
            to set.
        ServiceError: see `requests_to`.
    """
    next_address: NextAddress | None = None
    address: str | None = _first_address(url, pagination)
    seen: dict[int, int] = {}
    read = number = empty = 0
    while address is not None:
        number += 1
        try:
            answer = get(address)
        except MissingAddressError:
            # Some services have no page after the last one, not even an empty one.
            if number == 1 or pagination is None or pagination.type not in ("page", "offset"):
                raise
            break
        page = read_page(answer, records_path)
        empty = 0 if page.records else empty + 1
        if empty > MAX_EMPTY_PAGES:
            raise InvalidInputError(
                f"The companies API answered {empty} pages in a row without a company, and names another one; "
                "check COMPANIES_API_PAGINATION"
            )
        if page.records and (first := seen.setdefault(_fingerprint(page.records), number)) != number:
            raise InvalidInputError(
                f"Page {number} of the companies API repeats page {first}: the way to the next page is another one; "
                "check COMPANIES_API_PAGINATION"
            )
        yield page.records
        read += len(page.records)
        if next_address is None:
            next_address = _configured(pagination) if pagination is not None else _detected(page, url)
        following = next_address(page, address, read)
        following = None if following is None else _checked(following, address)
        # Some services name the place after the last record for ever.
        address = None if empty and following == address else following
    _check_complete(page, read, pagination, pagination is not None or next_address is not _nowhere)


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
    for path, value in page.named((*ADDRESS_KEYS, *CURSOR_PARAMETERS)):
        if isinstance(value, str) and value.startswith(("http://", "https://", "/", "?")):
            return _by_address(path)
        name = path.rpartition(".")[2].lower()
        if value not in (None, "", False) and name in CURSOR_PARAMETERS:
            return _by_cursor(path, CURSOR_PARAMETERS[name])
    pages = page.first_number(PAGE_COUNT_KEYS)
    current = page.first_number(PAGE_KEYS)
    total = page.first_number(TOTAL_KEYS)
    # Addresses tell the name of the parameter, and a service that counts from 0.
    if (pages is not None and pages > 1) or (current is not None and total is not None and total > len(page.records)):
        return _by_page(_parameter_in(url, ("page", "p", "page_number")) or "page", 1 if current is None else current)
    offset = page.named(OFFSET_KEYS)
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
        if value in (None, "", False) or _says_no_more(page):
            return None
        return _with_parameter(address, parameter, value)

    return following


def _by_page(parameter: str, start: int) -> NextAddress:
    pages_read = 0

    def following(page: Page, address: str, read: int) -> str | None:
        nonlocal pages_read
        pages_read += 1
        pages, total = page.first_number(PAGE_COUNT_KEYS), page.first_number(TOTAL_KEYS)
        has_ended = not page.records or (total is not None and read >= total)
        if (has_ended if pages is None else pages_read >= pages) or _says_no_more(page):
            return None
        return _with_parameter(address, parameter, start + pages_read)

    return following


def _by_offset(parameter: str, start: int) -> NextAddress:
    def following(page: Page, address: str, read: int) -> str | None:
        total = page.first_number(TOTAL_KEYS)
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
        total = as_number(page.values.get(total_path)) if total_path else page.first_number(TOTAL_KEYS)
    if total is not None and total > read:
        raise InvalidInputError(f"The companies API announces {total} companies, but {read} could be read; {how}")
    has_more = any(value is True for _, value in page.named(MORE_KEYS))
    if has_more or (not is_followed and any(value for _, value in page.named((*ADDRESS_KEYS, *CURSOR_PARAMETERS)))):
        raise InvalidInputError(f"The companies API announces more than the {read} companies that were read; {how}")


def _says_no_more(page: Page) -> bool:
    return any(value is False for _, value in page.named(MORE_KEYS))


def _with_parameter(url: str, name: str, value: Any) -> str:
    return str(httpx.URL(url).copy_set_param(name, str(value)))


def _parameter_in(url: str, names: Sequence[str]) -> str | None:
    given = httpx.URL(url).params
    return next((name for name in names if name in given), None)


def _fingerprint(records: Sequence[Record]) -> int:
    """Return what two pages share that hold the same records, and hardly ever two others."""
    sample = [*records[:: len(records) // SAMPLED_RECORDS + 1], *records[-1:]]
    return hash((len(records), *(bytes(one) if isinstance(one, msgspec.Raw) else repr(one) for one in sample)))
