"""A companies API over HTTP with the bundled sample: `GET /companies`, which asks for the key, and `GET /health`.

Run as `python -m workflows.ingestion.sample_api --port 8080 --key-file FILE`.
"""

import asyncio
import hmac
import time
from pathlib import Path

from tornado.web import Application, HTTPError, RequestHandler

from workflows.common.local_services import service_arguments
from workflows.common.settings import get_settings


class IdleClock:
    """Seconds since the last request that was no health check."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def reset(self) -> None:
        """Note a request."""
        self._last = time.monotonic()

    async def wait(self, seconds: float) -> None:
        """Return once there was no request for `seconds`; 0 waits for ever."""
        if not seconds:
            await asyncio.Event().wait()
        while (left := self._last + seconds - time.monotonic()) > 0:
            await asyncio.sleep(left)


class LocalHandler(RequestHandler):
    """Answers only to the names of this machine: a page whose name was rebound to 127.0.0.1 sends its own `Host`."""

    def prepare(self) -> None:
        """Refuse another `Host`.

        Raises:
            HTTPError: 403.
        """
        if self.request.host_name not in ("127.0.0.1", "localhost"):
            raise HTTPError(403)


class CompaniesHandler(LocalHandler):
    """The sample file as it stands, read at each request so that an edit shows."""

    def initialize(self, sample: Path, key: str, idle: IdleClock) -> None:
        """Take what the application was made with."""
        self.sample = sample
        self.key = key
        self.idle = idle

    def prepare(self) -> None:
        """Refuse a request without the key.

        Raises:
            HTTPError: 401, or 403 for another `Host`.
        """
        super().prepare()
        given = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.key}".encode()):
            raise HTTPError(401)

    def get(self) -> None:
        """Answer with the list of companies."""
        self.idle.reset()
        self.set_header("Content-Type", "application/json")
        self.write(self.sample.read_bytes())


class HealthHandler(LocalHandler):
    """Ready as soon as it answers."""

    def get(self) -> None:
        """Answer 200."""
        self.write({"status": "ok"})


def make_app(sample: Path, key: str, idle: IdleClock) -> Application:
    """Return the application that serves `sample`."""
    arguments = {"sample": sample, "key": key, "idle": idle}
    return Application([("/companies", CompaniesHandler, arguments), ("/health", HealthHandler)])


async def serve(port: int, key: str, idle_exit_seconds: float) -> None:
    """Serve on 127.0.0.1 until idle."""
    idle = IdleClock()
    make_app(get_settings().data_dir / "companies.json", key, idle).listen(port, address="127.0.0.1")
    await idle.wait(idle_exit_seconds)


if __name__ == "__main__":
    arguments = service_arguments(__doc__)
    asyncio.run(serve(arguments.port, arguments.key, arguments.idle_exit_seconds))
