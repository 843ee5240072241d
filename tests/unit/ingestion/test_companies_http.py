"""The companies of real servers on this machine: keys, pages, places of the list, and what servers do wrong."""

import contextlib
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

from workflows.common.errors import InvalidInputError, ServiceError
from workflows.common.settings import Settings
from workflows.ingestion.companies import fetch_companies

COMPANIES = [{"id": number, "name": f"Company {number}"} for number in range(12)]
Query = dict[str, str]


class Server(ThreadingHTTPServer):
    """Answers each request with what `answer` returns for its path and query: a body, or body, status and headers."""

    daemon_threads = True

    def __init__(self, answer: Callable[["Server", str, Query], object]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        parts = urlsplit(self.path)
        found = self.server.answer(self.server, parts.path, dict(parse_qsl(parts.query)))
        body, status, headers = found if isinstance(found, tuple) else (found, 200, {})
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server with an answer."""
    servers: list[tuple[Server, threading.Thread]] = []

    def start(answer) -> Server:
        server = Server(answer if callable(answer) else lambda *_: answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def ids(server: Server, path: str = "/companies", **settings) -> list[int]:
    """Fetch all pages, and return the ids in order; settings without their prefix."""
    given = {f"companies_api_{name}": value for name, value in {"retries": 1, **settings}.items()}
    found = fetch_companies(Settings(**given), server.url + path)
    assert (found.rejected, found.duplicates) == ([], [])
    return found.table.column("id").to_pylist()


ALL = list(range(12))


def part(query: Query, name: str, size: int = 5, first: int = 0) -> list[dict]:
    start = (int(query.get(name, first)) - first) * (size if name == "page" else 1)
    return COMPANIES[start : start + size]


class TestPlaceOfTheList:
    @pytest.mark.parametrize(
        "body",
        [
            COMPANIES,
            {"data": COMPANIES},
            {"results": {"items": COMPANIES}, "status": "ok"},
            {"companies": COMPANIES, "errors": [], "tags": ["a"]},
        ],
    )
    def test_it_is_found_where_there_is_one_list_of_objects(self, serve, body):
        assert ids(serve(body)) == ALL

    def test_several_lists_are_named(self, serve):
        server = serve({"data": COMPANIES, "included": {"people": [{"id": 1}]}})
        with pytest.raises(
            InvalidInputError, match=r"several lists, at data, included\.people: .*COMPANIES_API_RECORDS"
        ):
            ids(server)
        assert ids(server, records="data") == ALL

    def test_a_wrong_path_names_those_that_exist(self, serve):
        with pytest.raises(
            InvalidInputError, match=r"no list at 'items'; check COMPANIES_API_RECORDS; lists are at data"
        ):
            ids(serve({"data": COMPANIES}), records="items")

    @pytest.mark.parametrize("body", [{"message": "hello"}, 3, "text", None])
    def test_no_list_is_said(self, serve, body):
        with pytest.raises(InvalidInputError, match="has to answer with a list"):
            ids(serve(body))

    @pytest.mark.parametrize("body", [b"<html>", b"", b"[1"])
    def test_what_is_not_json_is_refused(self, serve, body):
        with pytest.raises(InvalidInputError, match="did not answer with JSON; check COMPANIES_API_URL"):
            ids(serve(body))

    def test_half_of_a_surrogate_pair_spoils_only_its_record(self, serve):
        server = serve([*COMPANIES, {"id": 12, "name": "\ud800"}])
        found = fetch_companies(Settings(), server.url)
        assert (found.table.num_rows, [set(reasons) for _, reasons in found.rejected]) == (12, [{"name"}])


def by_link_header(server, path, query):
    page = int(query.get("page", 1))
    link = (
        {"Link": f'<{server.url}{path}?page={page + 1}>; rel="next", <{server.url}>; rel="first"'} if page < 3 else {}
    )
    return part(query, "page", first=1), 200, link


def by_next_address(server, path, query):
    start = int(query.get("from", 0))
    following = f"{path}?from={start + 5}" if start + 5 < 12 else None
    return {"items": part(query, "from"), "links": {"next": following}}


def by_next_object(server, path, query):
    answer = by_next_address(server, path, query)
    following = answer.pop("links")["next"]
    return answer | {
        "_links": {"self": {"href": path}} | ({"next": {"href": server.url + following}} if following else {})
    }


def by_cursor(server, path, query):
    start = int(query.get("cursor", 0))
    return {"data": part(query, "cursor"), "meta": {"next_cursor": str(start + 5) if start + 5 < 12 else ""}}


def by_token(server, path, query):
    start = int(query.get("pageToken", 0))
    return {"data": part(query, "pageToken")} | ({"nextPageToken": start + 5} if start + 5 < 12 else {})


def by_page_count(server, path, query):
    return {"data": part(query, "page", first=1), "page": int(query.get("page", 1)), "total_pages": 3}


def by_page_from_zero(server, path, query):
    return {"data": part(query, "page"), "page": int(query.get("page", 0)), "totalPages": 3}


def by_page_and_total(server, path, query):
    return {"data": part(query, "page", first=1), "meta": {"current_page": int(query.get("page", 1)), "total": 12}}


def by_offset(server, path, query):
    return {"data": part(query, "offset"), "offset": int(query.get("offset", 0)), "limit": 5, "total": 12}


def by_total_header(server, path, query):
    return part(query, "page", first=1), 200, {"X-Total-Pages": "3"}


class TestPages:
    @pytest.mark.parametrize(
        "answer",
        [
            by_link_header,
            by_next_address,
            by_next_object,
            by_cursor,
            by_token,
            by_page_count,
            by_page_from_zero,
            by_page_and_total,
            by_offset,
            by_total_header,
        ],
    )
    def test_all_are_read_where_the_answer_says_how(self, serve, answer):
        assert ids(serve(answer)) == ALL

    def test_parameters_of_the_address_are_kept(self, serve):
        server = serve(by_cursor)
        assert ids(server, "/companies?key=k&size=5") == ALL
        assert all("key=k&size=5" in path for path, _ in server.requests)

    @pytest.mark.parametrize(
        ("pagination", "answer"),
        [
            (
                {"type": "page", "parameter": "p"},
                lambda _s, _p, query: part({"page": query.get("p", "1")}, "page", first=1),
            ),
            (
                {"type": "page", "parameter": "p", "start": 0},
                lambda _s, _p, query: part({"page": query["p"]}, "page"),
            ),
            ({"type": "offset", "parameter": "skip"}, lambda _s, _p, query: part(query, "skip")),
            (
                {"type": "cursor", "parameter": "after_id", "path": "last"},
                lambda _s, _p, query: {
                    "data": (found := part(query, "after_id")),
                    "last": int(query.get("after_id", 0)) + len(found),
                },
            ),
            (
                {"type": "next", "path": "more"},
                lambda _s, path, query: {
                    "data": by_next_address(_s, path, query)["items"],
                    "more": by_next_address(_s, path, query)["links"]["next"],
                },
            ),
            ({"type": "link"}, by_link_header),
        ],
        ids=lambda value: value.get("type") if isinstance(value, dict) else "",
    )
    def test_the_setting_says_how(self, serve, pagination, answer):
        assert ids(serve(answer), pagination=pagination) == ALL

    @pytest.mark.parametrize("pagination", [{"type": "page", "parameter": "p"}, {"type": "offset", "parameter": "p"}])
    def test_a_page_that_is_missing_ends_what_is_counted(self, serve, pagination):
        def answer(_server: Server, _path: str, query: Query) -> object:
            first = 1 if pagination["type"] == "page" else 0
            found = part({pagination["type"]: query.get("p", str(first))}, pagination["type"], first=first)
            return found or ({"detail": "Invalid page."}, 404, {})

        assert ids(serve(answer), pagination=pagination) == ALL

    def test_a_missing_page_is_an_error_where_the_api_named_it_or_announces_more(self, serve):
        missing = ({"detail": "not found"}, 404, {})
        with pytest.raises(ServiceError, match="answered 404"):
            ids(serve(lambda *_: missing), pagination={"type": "page", "parameter": "p"})
        with pytest.raises(ServiceError, match="answered 404"):
            ids(serve(lambda _s, _p, query: missing if query else {"data": COMPANIES[:5], "next": "?page=2"}))
        with pytest.raises(InvalidInputError, match="announces 12 companies, but 5"):
            ids(
                serve(lambda _s, _p, query: missing if query else {"data": COMPANIES[:5], "total": 12}),
                pagination={"type": "page", "parameter": "p"},
            )

    @pytest.mark.parametrize(
        ("pagination", "wrong"),
        [
            ({"type": "pages"}, "type"),
            ({"type": "cursor"}, "path: is missing"),
            ({"type": "page", "name": "p"}, "name"),
        ],
    )
    def test_a_wrong_setting_is_named(self, serve, pagination, wrong):
        with pytest.raises(InvalidInputError, match=f"COMPANIES_API_PAGINATION is wrong.*{wrong}"):
            ids(serve(COMPANIES), pagination=pagination)

    @pytest.mark.parametrize(
        "more",
        [
            {"total": 12},
            {"meta": {"totalCount": "12"}},
            {"has_more": True},
            {"next": "opaque"},
            {"pagination": {"hasNext": True, "limit": 5}},
        ],
    )
    def test_an_answer_that_announces_more_than_was_read_is_refused(self, serve, more):
        with pytest.raises(InvalidInputError, match=r"announces .*COMPANIES_API_PAGINATION"):
            ids(serve({"data": COMPANIES[:5], **more}))

    def test_the_total_is_of_use_where_it_is_something_else(self, serve):
        server = serve({"data": COMPANIES, "total": 999})
        with pytest.raises(InvalidInputError, match="announces 999 companies, but 12"):
            ids(server)
        assert ids(server, pagination={"type": "none", "total": None}) == ALL

    @pytest.mark.parametrize(
        "answer",
        [
            lambda _s, path, query: {"data": COMPANIES, "next": f"{path}?n={int(query.get('n', 0)) + 1}"},
            lambda *_: {"data": COMPANIES[:5], "page": 1, "total_pages": 3},
        ],
        ids=["endless", "parameter without effect"],
    )
    def test_a_page_that_repeats_is_said(self, serve, answer):
        server = serve(answer)
        with pytest.raises(
            InvalidInputError, match=r"Page 2 of the companies API repeats page 1.*COMPANIES_API_PAGINATION"
        ):
            ids(server)
        assert len(server.requests) == 2

    @pytest.mark.parametrize("empty", [{1}, {1, 2}, {0, 1}])
    @pytest.mark.parametrize("way", ["cursor", "next", "link", "page"])
    def test_a_page_without_records_is_not_the_end(self, serve, way, empty):
        def answer(_server, _path, query):
            number = int(query.get("cursor", query.get("page", 0)))
            following = number + 1 if number < 4 else None
            first = 5 * (number - len([page for page in empty if page < number]))
            body = {"data": [] if number in empty else COMPANIES[first : first + 5]}
            if way == "page":
                return body | {"page": number, "total_pages": 5}
            link = {} if following is None else {"Link": f'<?cursor={following}>; rel="next"'}
            if way == "link":
                return body, 200, link
            name, value = ("next_cursor", following) if way == "cursor" else ("next", f"?cursor={following}")
            return body | {name: None if following is None else value}

        assert ids(serve(answer)) == ALL

    def test_empty_pages_without_end_are_said(self, serve):
        server = serve(lambda _s, path, query: {"data": [], "next": f"{path}?n={int(query.get('n', 0)) + 1}"})
        with pytest.raises(InvalidInputError, match=r"101 pages in a row without a company.*COMPANIES_API_PAGINATION"):
            ids(server)

    def test_a_cursor_that_stays_the_same_after_the_last_record_ends(self, serve):
        server = serve(
            lambda _s, _p, query: {"data": [] if "cursor" in query else COMPANIES, "next_cursor": "after the last"}
        )
        assert ids(server) == ALL
        assert len(server.requests) == 2

    def test_pages_without_end_meet_the_deadline(self, serve):
        def endless(server, path, query):
            number = int(query.get("n", 0)) + 1
            return {"data": [{"id": number, "name": "x"}], "next": f"{path}?n={number}"}

        with pytest.raises(ServiceError, match=r"within 0\.5 s"):
            ids(serve(endless), deadline_seconds=0.5)

    def test_a_page_that_fails_fails_the_whole(self, serve):
        def answer(server, path, query):
            return ({}, 500, {}) if "from" in query else by_next_address(server, path, query)

        with pytest.raises(ServiceError, match="answered 500 after 0 retries"):
            ids(serve(answer), retries=0)


HEADERS = {"Authorization": "Bearer hidden-key", "X-Api-Key": "hidden-key"}


class TestKey:
    def test_every_page_is_asked_with_the_headers(self, serve):
        server = serve(by_next_address)
        ids(server, headers=HEADERS)
        assert [headers["Authorization"] for _, headers in server.requests] == ["Bearer hidden-key"] * 3

    def test_a_refused_key_is_said_without_it(self, serve):
        with pytest.raises(ServiceError, match="answered 401, check the key in COMPANIES_API_HEADERS") as caught:
            ids(serve(({}, 401, {})), "/companies?key=hidden-key", headers=HEADERS)
        assert "hidden-key" not in str(caught.value)

    def test_a_next_page_on_a_foreign_host_is_not_asked(self, serve):
        foreign = serve(COMPANIES)
        address = f"http://localhost:{foreign.server_port}/companies"
        with pytest.raises(InvalidInputError, match=r"next page on another host, localhost:\d+, which is not asked"):
            ids(serve({"data": COMPANIES, "next": address}), headers=HEADERS)
        assert foreign.requests == []

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    def test_a_redirection_to_another_host_or_port_does_not_take_the_key_along(self, serve, host):
        foreign = serve(COMPANIES)
        address = f"http://{host}:{foreign.server_port}/companies"
        assert ids(serve(([], 302, {"Location": address})), headers=HEADERS) == ALL
        ((_, headers),) = foreign.requests
        assert "hidden-key" not in str(headers)


def test_the_memory_does_not_grow_with_the_pages(serve):
    def answer(server, path, query):
        page = int(query.get("page", 0))
        records = [{"id": page * 500 + number, "name": "x" * 200} for number in range(500)]
        return {"data": records, "page": page, "pages": 20}

    server = serve(answer)
    fetch_companies(Settings(), server.url)
    tracemalloc.start()
    try:
        found = fetch_companies(Settings(), server.url)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.table.num_rows == 10_000
    # Ten thousand decoded records take more than 10 MB, two pages of them less than one.
    assert peak < 12e6
