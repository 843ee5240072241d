"""A companies API over HTTP with the bundled sample: `GET /companies`, `GET /health`.

Run as `python -m workflows.ingestion.sample_api --port 8080`.
"""

import argparse
import asyncio
import time
from pathlib import Path

from tornado.web import Application, RequestHandler

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


class CompaniesHandler(RequestHandler):
    """The sample file as it stands, read at each request so that an edit shows."""

    def initialize(self, sample: Path, idle: IdleClock) -> None:
        """Take what the application was made with."""
        self.sample = sample
        self.idle = idle

    def get(self) -> None:
        """Answer with the list of companies."""
        self.idle.reset()
        self.set_header("Content-Type", "application/json")
        self.write(self.sample.read_bytes())


class HealthHandler(RequestHandler):
    """Ready as soon as it answers."""

    def get(self) -> None:
        """Answer 200."""
        self.write({"status": "ok"})


def make_app(sample: Path, idle: IdleClock) -> Application:
    """Return the application that serves `sample`."""
    return Application([("/companies", CompaniesHandler, {"sample": sample, "idle": idle}), ("/health", HealthHandler)])


async def serve(port: int, idle_exit_seconds: float) -> None:
    """Serve on 127.0.0.1 until idle."""
    idle = IdleClock()
    make_app(get_settings().data_dir / "companies.json", idle).listen(port, address="127.0.0.1")
    await idle.wait(idle_exit_seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--idle-exit-seconds", type=float, default=0)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.idle_exit_seconds))
