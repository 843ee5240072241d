"""The client against a real server on this machine that fails in every way that counts."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from workflows.common.errors import InvalidInputError, ServiceError
from workflows.ingestion.companies import fetch_companies

COMPANY = {
    "id": 1,
    "name": "Northwind",
    "address": "14 Harbour Road",
    "zip": "01234",
    "country": "Norway",
    "industry": "Energy",
    "marketCap": 1000,
    "domain": "northwind.example",
    "logo": "https://northwind.example/logo.png",
    "ceoName": "Isla Murray",
}
GOOD = (200, json.dumps([COMPANY]), {})


class Server(HTTPServer):
    """Answers the scripted responses one after the other, the last one for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, str, dict[str, str]]] = [GOOD]
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/companies?key=hidden-key"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        status, body, headers = self.server.script[min(self.server.requests, len(self.server.script) - 1)]
        self.server.requests += 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client would have waited between its attempts."""
    seconds: list[float] = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


def fetch(server: Server, retries: int = 2):
    return fetch_companies(server.url, timeout_seconds=5, retries=retries)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_retried(server, status):
    server.script = [(status, "", {}), (status, "", {"Retry-After": "0"}), GOOD]
    assert len(fetch(server)) == 1
    assert server.requests == 3


def test_retry_after_is_honoured(server, waited):
    server.script = [(429, "", {"Retry-After": "7"}), GOOD]
    fetch(server)
    assert 7 in waited


def test_a_lasting_failure_is_said_with_its_status_and_without_the_address(server):
    server.script = [(503, "", {"Retry-After": "0"})]
    with pytest.raises(ServiceError, match="answered 503 after 2 retries") as caught:
        fetch(server)
    assert server.requests == 3
    assert "hidden-key" not in str(caught.value)


def test_an_error_of_the_caller_is_not_retried(server):
    server.script = [(404, "", {})]
    with pytest.raises(ServiceError, match="answered 404"):
        fetch(server)
    assert server.requests == 1


def test_a_refused_connection_is_said_without_the_address(server):
    url = server.url
    server.server_close()
    with pytest.raises(ServiceError, match="did not answer") as caught:
        fetch_companies(url, timeout_seconds=1, retries=0)
    assert "hidden-key" not in str(caught.value)


@pytest.mark.parametrize("body", ["<html>", "", "[1"])
def test_what_is_not_json_is_refused(server, body):
    server.script = [(200, body, {})]
    with pytest.raises(InvalidInputError, match="did not answer with JSON"):
        fetch(server)
