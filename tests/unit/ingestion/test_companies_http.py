"""The client of the companies API against a real server on this machine."""

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


def fetch(server: Server, retries: int = 2):
    return fetch_companies(server.url, timeout_seconds=5, deadline_seconds=10, retries=retries)


def test_a_list_of_companies_is_read(server):
    assert len(fetch(server)) == 1


def test_a_failure_names_the_variable_and_not_the_address(server):
    server.script = [(404, "", {})]
    with pytest.raises(ServiceError, match=r"The companies API answered 404; check COMPANIES_API_URL") as caught:
        fetch(server)
    assert "hidden-key" not in str(caught.value)


@pytest.mark.parametrize("body", ["<html>", "", "[1"])
def test_what_is_not_json_is_refused(server, body):
    server.script = [(200, body, {})]
    with pytest.raises(InvalidInputError, match="did not answer with JSON"):
        fetch(server)
