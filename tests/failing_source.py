"""A source on this machine that fails in a chosen way, and always says back what it was sent: address and headers."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from workflows.common.processes import free_port

# Each way that a source can fail, or answer with what does not fit.
WAYS = ("401", "403", "404", "500", "503", "timeout", "cut off", "no json", "records", "redirect", "refused")
TIMEOUT_SECONDS = 0.4


class FailingSource:
    """Serves while its context lasts.

    Attributes:
        way: One of `WAYS`; may be changed at any time.
        secret: Part of the user information, the query and the headers that the settings get.
    """

    def __init__(self, secret: str, way: str = "404"):
        self.way = way
        self.secret = secret
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                self.rfile.read(length)
                sent = f"{source.url('echo')} {self.path} {dict(self.headers)}"
                body = json.dumps({"error": {"message": f"refused: {sent}", "code": "no"}}).encode()
                status, headers = int(source.way) if source.way.isdigit() else 200, {"Content-Length": str(len(body))}
                if source.way == "timeout":
                    time.sleep(2 * TIMEOUT_SECONDS)
                elif source.way == "cut off":
                    headers["Content-Length"] = str(len(body) + 100)
                elif source.way == "no json":
                    body = sent.encode()
                    headers["Content-Length"] = str(len(body))
                elif source.way == "records":
                    body = json.dumps([{"id": [sent], "self": source.url("echo")}, {"id": 1, "name": sent}]).encode()
                    headers["Content-Length"] = str(len(body))
                elif source.way == "redirect":
                    status, headers = (
                        302,
                        {"Location": source.url("elsewhere", port=free_port()), "Content-Length": "0"},
                    )
                    body = b""
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Write nothing to the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def url(self, name: str, port: int | None = None) -> str:
        """Return an address with the secret in both places."""
        if port is None:
            port = free_port() if self.way == "refused" else self._server.server_port
        return f"http://reader:{self.secret}-in-user@127.0.0.1:{port}/{name}?api_key={self.secret}-in-query"

    def environment(self) -> dict[str, str]:
        """Return the settings that name this source everywhere, with few retries and short time limits."""
        return {
            "COMPANIES_API_URL": self.url("companies"),
            "COMPANIES_API_HEADERS": json.dumps(
                {"Authorization": f"Bearer {self.secret}-in-header", "X-Key": self.secret}
            ),
            "COMPANIES_API_RETRIES": "1",
            "COMPANIES_API_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
            "PASSENGERS_CSV": self.url("titanic.csv"),
            "OPENAI_BASE_URL": self.url("v1"),
            "OPENAI_API_KEY": f"{self.secret}-as-key",
            "LLM_MODEL": "some-model",
            "LLM_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
            "LLM_BUDGET_SECONDS": "1",
            "LLM_WAIT_SECONDS": "1",
            "DEFAULT_OWNER_PASSWORD": f"{self.secret}-of-owner",
            "JWT_SECRET": f"{self.secret}-of-tokens",
        }

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
