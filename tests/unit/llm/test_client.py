"""The client against a local server that speaks the protocol and misbehaves as told."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workflows.errors import ServiceError
from workflows.llm.client import MAX_TRIES, OpenAIModel
from workflows.settings import Settings

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
MESSAGES = [{"role": "user", "content": "Hi"}]
KEY = "sk-very-secret"


def answer(text='{"text": "hi"}', **changes):
    message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "real-name", "choices": [message]}
    return 200, {**body, "usage": usage, **changes}


def failure(status, message="it broke", code=None, **headers):
    return status, {"error": {"message": message, "type": "error", "code": code}}, headers


class Server:
    """Gives the scripted answers in turn, the last one for ever, and keeps the requests."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests: list[dict] = []
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
                    step = server.script[min(len(server.requests), len(server.script)) - 1]
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                time.sleep(server.delay_seconds)
                with server._lock:
                    server.at_once -= 1
                status, body, *headers = step(request) if isinstance(step, Callable) else step
                self._send(status, body, headers[0] if headers else {})

            def _send(self, status, body, headers):
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
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self):
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def serve():
    servers = []

    def start(*script):
        servers.append(Server(*script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def slept():
    return []


@pytest.fixture
def model(tmp_path, slept):
    def make(server, **changes):
        url = server if isinstance(server, str) else server.url
        values = {"openai_base_url": url, "openai_api_key": KEY, "llm_model": "small", "state_dir": tmp_path}
        return OpenAIModel(Settings(**{**values, **changes}), sleep=slept.append)

    return make


def ask(model):
    return model.complete(MESSAGES, SCHEMA, max_tokens=20, temperature=0.3)


def test_answer_and_request(serve, model):
    server = serve(answer())
    completion = ask(model(server))
    assert (completion.text, completion.model, completion.tokens) == ('{"text": "hi"}', "real-name", 7)
    assert completion.seconds > 0
    request = server.requests[0]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("small", 20, 0.3)
    assert request["messages"] == MESSAGES
    assert request["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_passing_failures_are_retried_with_growing_delays(serve, model, slept, status):
    server = serve(failure(status), failure(status), failure(status), answer())
    assert ask(model(server)).text == '{"text": "hi"}'
    assert len(server.requests) == 4
    assert slept == sorted(slept)
    assert 0.3 < slept[0] < 1 < slept[-1] < 3


def test_retry_after_is_honoured(serve, model, slept):
    ask(model(serve(failure(429, Retry_After="7"), answer())))
    assert slept == [7.0]


def test_retry_after_beyond_the_budget_ends_at_once(serve, model, slept):
    server = serve(failure(429, "slow down", Retry_After="900"))
    with pytest.raises(ServiceError, match="429, slow down"):
        ask(model(server, llm_budget_seconds=60))
    assert (slept, len(server.requests)) == ([], 1)


def test_retries_are_bounded(serve, model):
    server = serve(failure(500, "still broken"))
    with pytest.raises(ServiceError, match=f"after {MAX_TRIES} tries: 500, still broken"):
        ask(model(server))
    assert len(server.requests) == MAX_TRIES


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (failure(401, f"Incorrect API key: {KEY}"), "check OPENAI_API_KEY"),
        (failure(403), "check OPENAI_API_KEY"),
        (failure(404, "no such model"), "no such model; the server offers: big, small"),
        (failure(429, "no money", code="insufficient_quota"), "no money"),
        (failure(400, "maximum context length exceeded"), "maximum context length exceeded"),
        ((200, b"<html>hello</html>", {"Content-Type": "text/html"}), "check OPENAI_BASE_URL"),
        (failure(422, f"bad {KEY}"), r"bad \*\*\*"),
    ],
)
def test_lasting_failures_are_not_retried_and_say_what_to_do(serve, model, slept, step, text):
    server = serve(step)
    with pytest.raises(ServiceError, match=text) as error:
        ask(model(server))
    assert (slept, len(server.requests)) == ([], 1)
    assert KEY not in str(error.value)
    assert "\n" not in str(error.value)


def test_refused_connection(model):
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        ask(model("http://127.0.0.1:9/v1"))


def test_no_answer_in_time(serve, model):
    server = serve(answer())
    server.delay_seconds = 0.5
    with pytest.raises(ServiceError, match=r"no answer within 0\.1 s \(LLM_TIMEOUT_SECONDS\)"):
        ask(model(server, llm_timeout_seconds=0.1))


@pytest.mark.parametrize(
    "broken", [(200, b'{"id": "1", "choi'), (200, b'{"id": "1"', {"Content_Length": "500"})], ids=["json", "body"]
)
def test_answer_that_breaks_off_is_retried(serve, model, broken):
    server = serve(broken, answer())
    assert ask(model(server)).text == '{"text": "hi"}'
    assert len(server.requests) == 2


@pytest.mark.parametrize("changes", [{"choices": []}, {"usage": None}])
def test_answer_without_choices_or_usage(serve, model, changes):
    completion = ask(model(serve(answer(**changes))))
    assert (completion.text == "") == ("choices" in changes)
    assert (completion.tokens == 0) == ("usage" in changes)


def test_server_without_json_schema_is_told_in_words_and_remembered(serve, model):
    def old(request):
        kind = request.get("response_format", {}).get("type", "text")
        return answer() if kind == "text" else failure(400, f"response_format {kind} is not supported")

    server = serve(old)
    client = model(server)
    assert ask(client).text == '{"text": "hi"}'
    assert json.dumps(SCHEMA) in server.requests[-1]["messages"][0]["content"]
    ask(client)
    assert len(server.requests) == 4


def test_server_with_other_parameters(serve, model):
    def reasoning(request):
        if "max_tokens" in request:
            return failure(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in request:
            return failure(400, "Unsupported value: 'temperature' does not support 0.3")
        return answer()

    server = serve(reasoning)
    ask(model(server))
    assert server.requests[-1]["max_completion_tokens"] == 20
    assert server.requests[-1]["response_format"]["type"] == "json_schema"


def test_calls_at_once_are_limited_across_clients(serve, model):
    server = serve(answer())
    server.delay_seconds = 0.15
    threads = [threading.Thread(target=ask, args=(model(server, max_llm_calls_at_once=2),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 6
    assert server.most_at_once == 2


def test_place_is_given_back_after_a_failure(serve, model):
    client = model(serve(failure(401), answer()), max_llm_calls_at_once=1)
    with pytest.raises(ServiceError):
        ask(client)
    assert ask(client).text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"llm_model": None}, "LLM_MODEL is not set"),
        ({"openai_base_url": None, "openai_api_key": None}, "LOCAL_MODEL_PATH"),
        (
            {
                "openai_base_url": None,
                "openai_api_key": None,
                "llm_model": None,
                "local_model_path": Path("/no/such.gguf"),
            },
            "LOCAL_MODEL_PATH names no file",
        ),
    ],
)
def test_incomplete_settings(model, changes, text):
    with pytest.raises(ServiceError, match=text):
        ask(model("http://127.0.0.1:9/v1", **changes))
