"""Load generator: keep-alive clients that repeat one HTTP request and measure the response times.

Run as `python -m benchmarks.load HOST PORT CLIENTS SECONDS < request`; prints the response times in seconds as a JSON
list. It runs in its own process and parses only what it needs, to leave the CPU to the measured server.
"""

import asyncio
import json
import sys
import time


class Client(asyncio.Protocol):
    """One connection; sends the next request as soon as a response is complete."""

    def __init__(self, request: bytes, until: float, done: asyncio.Future):
        self.request, self.until, self.done = request, until, done
        self.seconds: list[float] = []
        self.buffer = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.begin = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self.buffer[:500].decode(errors="replace")))
            self.transport.close()
            return
        name = head.lower().find(b"content-length:")
        if name >= 0:
            if len(body) < int(head[name + 15 :].split(b"\r\n", 1)[0]):
                return
        elif not body.endswith(b"0\r\n\r\n"):
            return
        self.buffer = b""
        now = time.perf_counter()
        self.seconds.append(now - self.begin)
        if now < self.until:
            self.send()
        else:
            self.transport.close()
            self.done.set_result(None)


async def run(host: str, port: int, clients: int, seconds: float, request: bytes) -> list[list[float]]:
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    connections = [Client(request, until, loop.create_future()) for _ in range(clients)]
    for client in connections:
        await loop.create_connection(lambda client=client: client, host, port)
    await asyncio.gather(*(client.done for client in connections))
    return [client.seconds for client in connections]


if __name__ == "__main__":
    host, port, clients, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    times = asyncio.run(run(host, port, clients, seconds, sys.stdin.buffer.read()))
    print(json.dumps([each for client in times for each in client]))  # noqa: T201
