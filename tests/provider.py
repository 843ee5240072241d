"""A provider of language models on this machine: speaks the OpenAI protocol over HTTP, and misbehaves as told."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(text='{"text": "hi"}', finish_reason="stop", **changes):
    message = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "real-name", "choices": [message]}
    return 200, {**body, "usage": usage, **changes}


def failure(status, message="it broke", code=None, **headers):
    return status, {"error": {"message": message, "type": "error", "code": code}}, headers


def trickle(*pieces, drop=b" ", drops=300, seconds=0.02):
    """Answer with the pieces of a raw HTTP answer, and then for some seconds with drops that never end it."""

    def sent():
        yield from pieces
        for _ in range(drops):
            time.sleep(seconds)
            yield drop

    return None, sent


class Provider:
    """Gives the scripted answers in turn, the last one for ever, and keeps the requests."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests: list[dict] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.delay_seconds = 0.0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._send(200, {"object": "list", "data": [{"id": "small", "object": "model"}, {"id": "big"}]}, {})

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.requests.append(request)
                    server.paths.append(self.path)
                    server.headers.append({name.lower(): value for name, value in self.headers.items()})
                    server.times.append(time.monotonic())
                    step = server.script[min(len(server.requests), len(server.script)) - 1]
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                time.sleep(server.delay_seconds)
                with server._lock:
                    server.at_once -= 1
                status, body, *headers = step(request) if isinstance(step, Callable) else step
                self._send(status, body, headers[0] if headers else {})

            def _send(self, status, body, headers):
                if status is None:
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        for piece in body():
                            self.wfile.write(piece)
                    return
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", headers.get("Content_Length", str(len(content))))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self.url = f"{self.address}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self):
        self._http.shutdown()
        self._http.server_close()
