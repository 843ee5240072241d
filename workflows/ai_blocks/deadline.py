"""A time limit for a whole HTTP request: httpx limits each of its waits alone, so a slow trickle never ends."""

import contextlib
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx


class Deadline:
    """Cuts the connections of the requests that it watches when the time is over, whatever their servers send.

    A thread and the sockets themselves, because no hook of httpx runs while it reads an answer's head.

    Args:
        seconds: From the moment when the context is entered.

    Attributes:
        is_over: Whether the time was over before the context was left.
    """

    def __init__(self, seconds: float):
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def watch(self, request: httpx.Request) -> None:
        """Watch a request that is about to be sent: a hook for httpx's `event_hooks`."""
        request.extensions["trace"] = self._note

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        # TLS puts a socket of its own in place of the first.
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._sockets.append(info["return_value"].get_extra_info("socket"))
            if self.is_over:
                self._end()

    def _end(self) -> None:
        self.is_over = True
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
