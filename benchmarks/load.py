"""Keep-alive clients in a process of their own: send one request again and again, and time every answer.

Run as `python -m benchmarks.load HOST PORT CLIENTS SECONDS < request`; prints the seconds of every answer as JSON.
The client is as small as can be, so that on a small machine it takes little from the server that it measures.
"""

import asyncio
import json
import sys
import time


class Client(asyncio.Protocol):
    """One connection; the next request follows an answer at once."""

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
    made = [Client(request, until, loop.create_future()) for _ in range(clients)]
    for client in made:
        await loop.create_connection(lambda client=client: client, host, port)
    await asyncio.gather(*(client.done for client in made))
    return [client.seconds for client in made]


if __name__ == "__main__":
    host, port, clients, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    begin = time.perf_counter()
    answers = asyncio.run(run(host, port, clients, seconds, sys.stdin.buffer.read()))
    print(json.dumps([each for client in answers for each in client]))  # noqa: T201
