"""Downloads from real servers of this machine that are slow, busy, broken or endless."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from workflows.common.errors import InvalidInputError, ServiceError
from workflows.common.http import download

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"


def status(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", "Content-Length: 0", *headers, "", ""]).encode()


class Server:
    """Answers one scripted list of pieces per connection, the last one for ever."""

    def __init__(self, *script: list[bytes], seconds_between_pieces: float = 0.0):
        self.script = script
        self.seconds = seconds_between_pieces
        self.requests: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/file?key=hidden-key"
        self.stopped = threading.Event()

    def serve(self) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(OSError), self.socket.accept()[0] as connection:
                self.requests.append(connection.recv(65536))
                for piece in self.script[min(len(self.requests), len(self.script)) - 1]:
                    connection.sendall(piece)
                    if self.stopped.wait(self.seconds):
                        return


@contextlib.contextmanager
def serving(*script: list[bytes], seconds_between_pieces: float = 0.0) -> Iterator[Server]:
    server = Server(*script, seconds_between_pieces=seconds_between_pieces)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        with contextlib.suppress(OSError):
            socket.create_connection(server.socket.getsockname()[:2], timeout=1).close()
        thread.join()
        server.socket.close()


def get(server: Server | SimpleNamespace, **changed: object) -> bytes:
    options = {"timeout_seconds": 5, "deadline_seconds": 10, "retries": 2, **changed}
    return download(server.url, source="The file", setting="FILE_URL", **options)


@pytest.mark.parametrize("line", ["429 Too Many", "500 Error", "503 Unavailable"])
def test_a_temporary_failure_is_retried(line):
    with serving([status(line)], [GOOD]) as server:
        assert get(server) == b"good"
    assert len(server.requests) >= 2


def test_a_closed_connection_is_retried():
    with serving([], [GOOD]) as server:
        assert get(server) == b"good"


def test_retry_after_is_honoured():
    with serving([status("429 Too Many", "Retry-After: 1")], [GOOD]) as server:
        started = time.monotonic()
        assert get(server) == b"good"
        assert time.monotonic() - started >= 1


def test_a_lasting_failure_names_the_status_and_hides_the_address():
    with (
        serving([status("503 Unavailable")]) as server,
        pytest.raises(ServiceError, match="The file answered 503 after 1 retry; check FILE_URL") as caught,
    ):
        get(server, retries=1)
    assert "hidden-key" not in str(caught.value)


def test_no_address_is_logged(caplog):
    caplog.set_level("INFO")
    with serving([status("500 Error")], [GOOD]) as server:
        get(server)
    assert "hidden-key" not in caplog.text


def test_an_error_of_the_request_is_not_retried():
    with serving([status("404 Not Found")], [GOOD]) as server, pytest.raises(ServiceError, match="answered 404"):
        get(server)


def test_an_address_without_its_scheme_is_said_and_not_retried():
    with pytest.raises(ServiceError, match="has to begin with http:// or https://; check FILE_URL"):
        get(SimpleNamespace(url="localhost/companies"))


def test_a_refused_connection_hides_the_address():
    with serving([GOOD]) as server:
        pass
    with pytest.raises(ServiceError, match="did not answer") as caught:
        get(server, retries=0)
    assert "hidden-key" not in str(caught.value)


SLOW_HEADERS = [b"HTTP/1.1 200 OK\r\n", *[f"X-{index}: 1\r\n".encode() for index in range(100)]]
SLOW_BODY = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 100]


@pytest.mark.parametrize("pieces", [SLOW_HEADERS, SLOW_BODY], ids=["headers", "body"])
def test_the_deadline_holds_for_an_answer_that_drips(pieces):
    with (
        serving(pieces, seconds_between_pieces=0.1) as server,
        pytest.raises(ServiceError, match=r"completely within 0\.5 s"),
    ):
        get(server, deadline_seconds=0.5)


def test_the_deadline_holds_for_the_waits_between_tries():
    with (
        serving([status("429 Too Many", "Retry-After: 3600")]) as server,
        pytest.raises(ServiceError, match=r"completely within 0\.5 s"),
    ):
        get(server, deadline_seconds=0.5)


def test_a_body_that_is_too_large_is_refused():
    with serving([GOOD]) as server, pytest.raises(InvalidInputError, match="larger than 3 bytes; check FILE_URL"):
        get(server, max_bytes=3)


def test_an_own_address_is_never_asked_through_a_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with serving([GOOD]) as server:
        assert get(server) == b"good"


def test_an_error_on_the_way_names_the_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    options = {"source": "The file", "setting": "FILE_URL", "timeout_seconds": 5, "deadline_seconds": 5, "retries": 0}
    with pytest.raises(ServiceError, match=r"through the proxy http://127\.0\.0\.1:9"):
        download("http://files.example/x", **options)
