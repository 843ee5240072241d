"""The client against a local server that speaks the protocol and misbehaves as told."""

import asyncio
import json
import logging
import threading
import time
import types
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.provider import Provider, answer, failure, trickle
from workflows.ai_blocks import client as client_module
from workflows.ai_blocks.client import (
    BUNDLED_MAX_TOKENS,
    MAX_RETRIES,
    LanguageModel,
    RequestTooLargeError,
    probe,
    public_address,
)
from workflows.ai_blocks.request_options import REASONING_TOKENS
from workflows.common.errors import ServiceError
from workflows.common.settings import Settings
from workflows.local_llm.model import LLM_SERVER

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
KEY = "sk-very-secret"


@pytest.fixture
def serve():
    servers = []

    def start(*script):
        servers.append(Provider(*script))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    """The openai package waits less between tries, and nothing learned in another test is known."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)
    monkeypatch.setattr(client_module, "_LEARNED_OPTIONS", {})


@pytest.fixture
def slept():
    return []


@pytest.fixture
def model(tmp_path, slept):
    """Return a function that makes a client, whose waiting passes at once on a clock of its own."""

    def make(server, **changes):
        url = server if isinstance(server, str) else server.url
        values = {"openai_base_url": url, "openai_api_key": KEY, "llm_model": "small", "state_dir": tmp_path}
        begin = time.time()
        return LanguageModel(Settings(**{**values, **changes}), clock=lambda: begin + sum(slept), sleep=slept.append)

    return make


def ask(model):
    return model.complete(MESSAGES, SCHEMA, max_tokens=20, temperature=0.3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 1),
        ({"llm_max_attempts": 3}, 3),
        ({"local_model_path": "other.gguf"}, None),
        ({"llm_model": "large"}, None),
        ({"llm_model": "large", "llm_max_attempts": 1}, 1),
    ],
)
def test_the_bundled_model_is_asked_once(tmp_path, values, expected):
    assert LanguageModel(Settings(state_dir=tmp_path, **values)).max_attempts == expected


def test_answer_and_request(serve, model):
    server = serve(answer())
    completion = ask(model(server))
    assert (completion.text, completion.model) == ('{"text": "hi"}', "real-name")
    assert (completion.input_tokens, completion.output_tokens, completion.is_cut) == (5, 2, False)
    assert completion.seconds > 0
    request = server.requests[0]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("small", 20, 0.3)
    assert request["messages"] == MESSAGES
    assert request["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503])
def test_passing_failures_are_retried(serve, model, status):
    server = serve(failure(status), failure(status), failure(status, Retry_After="0.02"), answer())
    assert ask(model(server)).text == '{"text": "hi"}'
    assert len(server.requests) == 4


def test_the_pause_that_a_server_asks_for_is_kept(serve, model, slept):
    ask(model(serve(failure(429, Retry_After="7"), answer())))
    assert sum(slept) == pytest.approx(7, abs=0.1)


def test_the_pause_may_be_a_date(serve, model, slept):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    ask(model(serve(failure(429, Retry_After=soon), answer())))
    assert 60 < sum(slept) <= 100


def test_a_busy_provider_slows_down_and_does_not_fail(serve, model, slept):
    busy = [failure(429)] * 15
    assert ask(model(serve(*busy, answer()), llm_budget_seconds=1)).text
    assert sum(slept) > 60


def test_a_provider_that_asks_for_no_wait_is_asked_less_and_less_often(serve, model, slept):
    server = serve(*[failure(429, Retry_After="0")] * 20, answer())
    assert ask(model(server)).text
    assert sum(slept) > 200


def test_a_pause_beyond_the_longest_wait_ends_at_once(serve, model, slept):
    server = serve(failure(429, "slow down", Retry_After="900"))
    with pytest.raises(
        ServiceError, match=r"429, slow down; it would mean waiting longer than 60 s \(LLM_WAIT_SECONDS\)"
    ):
        ask(model(server, llm_wait_seconds=60))
    assert (slept, len(server.requests)) == ([], 1)


def test_calls_per_minute_are_limited(serve, model, slept):
    server = serve(answer())
    for _ in range(7):
        ask(model(server, max_llm_calls_per_minute=3))
    assert sum(slept) == pytest.approx(120, abs=2)


def test_retries_are_bounded(serve, model):
    server = serve(failure(500, "still broken"))
    with pytest.raises(ServiceError, match="500, still broken"):
        ask(model(server))
    assert len(server.requests) == MAX_RETRIES + 1


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (failure(401, f"Incorrect API key: {KEY}"), "check OPENAI_API_KEY"),
        (failure(403, "not from this country"), "403, not from this country; check OPENAI_API_KEY and what it may use"),
        (failure(403, "no", code="model_not_found"), "no; .*; the server offers: big, small"),
        (failure(403, "Project `p` does not have access to model `small`"), "the server offers: big, small"),
        (failure(400, "the prompt is unacceptable"), "400, the prompt is unacceptable"),
        (failure(422, "the prompt is unacceptable"), "422, the prompt is unacceptable"),
        ((200, {}), "check OPENAI_BASE_URL"),
        ((200, [1]), "check OPENAI_BASE_URL"),
        (answer(choices=None), "check OPENAI_BASE_URL"),
        ((200, {"error": {"message": "no credits", "code": 402}}), "402, no credits"),
        ((200, {"error": "no reason"}), "200, no reason"),
        (failure(404, "no such model"), "no such model; the server offers: big, small"),
        (failure(429, "no money", code="insufficient_quota"), "no money"),
        (failure(400, "the model `small` does not exist"), "does not exist; the server offers: big, small"),
        (failure(400, "flagged", code="content_filter"), "flagged"),
        ((200, b"<html>hello</html>", {"Content-Type": "text/html"}), "check OPENAI_BASE_URL"),
        (failure(422, f"bad {KEY}"), r"bad \*\*\*"),
        (failure(422, f"{'x' * 430} {KEY}"), r"x \*\*\*$"),
    ],
)
def test_lasting_failures_are_not_retried_and_say_what_to_do(serve, model, slept, step, text):
    server = serve(step)
    with pytest.raises(ServiceError, match=text) as error:
        ask(model(server))
    assert (slept, len(server.requests)) == ([], 1)
    assert KEY not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "reason",
    [
        "max_tokens is too large: 8192. This model supports at most 4096 completion tokens, whereas you provided 8192.",
        "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context length is 512 tokens "
        "and your request has 20 input tokens (8192 > 512 - 20).",
        "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens",
        "`max_tokens` must be less than or equal to `4096`",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 4096]",
    ],
    ids=["openai", "vllm", "anthropic", "groq", "deepseek"],
)
def test_too_many_tokens_wanted_is_a_request_too_large(serve, model, status, reason):
    server = serve(failure(status, reason))
    with pytest.raises(RequestTooLargeError, match=r"4096|512"):
        ask(model(server))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        failure(400, "This model's maximum context length is 4096 tokens."),
        failure(400, "the request exceeds the available context size, try increasing it"),
        failure(400, "Your input exceeds the context window of this model."),
        failure(400, "too much", code="context_length_exceeded"),
        failure(422, "the prompt is too long"),
    ],
)
def test_too_long_a_context_is_a_request_too_large(serve, model, refusal):
    server = serve(refusal)
    with pytest.raises(RequestTooLargeError):
        ask(model(server))
    assert len(server.requests) == 1


def test_refused_connection(model):
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        ask(model("http://127.0.0.1:9/v1"))


def test_no_answer_in_time(serve, model):
    server = serve(answer())
    server.delay_seconds = 0.5
    with pytest.raises(ServiceError, match=r"no answer within 0\.1 s \(LLM_TIMEOUT_SECONDS\)"):
        ask(model(server, llm_timeout_seconds=0.1))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TRICKLES = {"head": trickle(HEAD, drop=b"X: 1\r\n"), "body": trickle(HEAD, b"\r\n", drop=b" ")}


@pytest.mark.parametrize("step", TRICKLES.values(), ids=TRICKLES)
def test_an_answer_that_trickles_in_is_not_waited_for(serve, model, step):
    server = serve(step)
    with pytest.raises(ServiceError, match=r"no answer within 0\.2 s \(LLM_TIMEOUT_SECONDS\)"):
        ask(model(server, llm_timeout_seconds=0.2))
    assert len(server.requests) == MAX_RETRIES + 1


@pytest.mark.parametrize("step", [answer(), TRICKLES["body"]], ids=["silence", "trickle"])
def test_the_limit_that_was_hit_is_named(serve, model, step):
    server = serve(step)
    server.delay_seconds = 1.5
    with pytest.raises(ServiceError, match=r"no answer within 0\.9 s \(LLM_BUDGET_SECONDS\)"):
        ask(model(server, llm_budget_seconds=0.9))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "broken",
    [
        (200, b'{"id": "1", "choi'),
        (200, b'{"id": "1"', {"Content_Length": "500"}),
        (200, json.dumps(answer("\xe9")[1], ensure_ascii=False).encode("latin-1")),
        (200, {"error": {"message": "upstream", "code": 502}}),
        (200, {"error": {"message": "upstream", "code": "503"}}),
        answer(choices=[], error={"message": "upstream", "code": 502}),
        (200, {"error": {"message": "slow down", "code": 429}}),
    ],
    ids=["json", "body", "latin-1", "error 502", "error 503", "no choices", "error 429"],
)
def test_answer_that_breaks_off_is_retried(serve, model, broken):
    server = serve(broken, answer())
    assert ask(model(server)).text == '{"text": "hi"}'
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"choices": []}, ""),
        ({"choices": [None]}, ""),
        ({"choices": [{"message": None}]}, ""),
        ({"choices": [{"message": {"content": None}}]}, ""),
        (
            {
                "choices": [
                    {"message": {"content": [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "a"}]}}
                ]
            },
            "a",
        ),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}]}, "ab"),
        ({"choices": [{"message": {"content": [3, {"type": "text"}]}}]}, ""),
    ],
)
def test_answer_without_a_plain_text(serve, model, changes, text):
    completion = ask(model(serve(answer(**changes))))
    assert (completion.text, completion.input_tokens) == (text, 5)


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}, {"prompt_tokens": "x"}, 3]
)
def test_answer_without_usage_or_name(serve, model, usage):
    completion = ask(model(serve(answer(usage=usage, model=None))))
    assert (completion.text, completion.input_tokens, completion.output_tokens) == ('{"text": "hi"}', 0, 0)
    assert completion.model == "small"


def test_server_without_json_schema_is_told_in_words_and_remembered(serve, model):
    def old(request):
        kind = request.get("response_format", {}).get("type", "text")
        return answer() if kind == "text" else failure(400, f"response_format {kind} is not supported")

    server = serve(old)
    client = model(server)
    assert ask(client).text == '{"text": "hi"}'
    assert json.dumps(SCHEMA) in server.requests[-1]["messages"][0]["content"]
    assert len(server.requests) == 4
    ask(model(server))
    assert len(server.requests) == 5, "what a server refuses is asked for once"


@pytest.mark.parametrize(
    ("detail", "changed"),
    [
        ({"detail": [{"loc": ["body", "response_format", "json_schema"], "msg": "extra"}]}, "response_format"),
        ({"message": {"detail": [{"loc": ["body", "max_tokens"], "msg": "extra"}]}}, "max_tokens"),
        ({"error": "temperature: not permitted", "error_type": "validation"}, "temperature"),
        ({"error": {"message": "Invalid value", "param": "response_format"}}, "response_format"),
    ],
    ids=["fastapi", "mistral", "tgi", "param"],
)
@pytest.mark.parametrize("status", [400, 422])
def test_what_a_server_names_is_said_otherwise(serve, model, status, detail, changed):
    server = serve((status, detail), answer())
    schema = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 9}}}
    model(server).complete(MESSAGES, schema, max_tokens=20, temperature=0.3)
    usual, adapted = server.requests
    differing = {name for name in usual if usual[name] != adapted.get(name)}
    assert differing == {changed}


def test_server_that_refuses_lengths_still_gets_the_schema(serve, model):
    def strict(request):
        lengths = '"minLength": ' in json.dumps(request["response_format"])
        return failure(400, "Invalid schema: 'minLength' is not permitted.") if lengths else answer()

    server = serve(strict)
    text = {"type": "string", "minLength": 3}
    schema = {"type": "object", "properties": {"a": text, "b": {"type": "array", "items": text}}, "required": ["a"]}
    model(server).complete(MESSAGES, schema, max_tokens=20, temperature=0.3)
    sent = [request["response_format"]["json_schema"]["schema"] for request in server.requests]
    plain = {"type": "string"}
    assert sent == [schema, {**schema, "properties": {"a": plain, "b": {"type": "array", "items": plain}}}]


def test_server_with_other_parameters(serve, model):
    def reasoning(request):
        if "max_tokens" in request:
            return failure(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in request:
            return failure(400, "Unsupported value: 'temperature' does not support 0.3")
        return answer()

    server = serve(reasoning)
    ask(model(server))
    assert server.requests[-1]["max_completion_tokens"] == 20 + REASONING_TOKENS
    assert server.requests[-1]["response_format"]["type"] == "json_schema"


PASSWORD = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://user:pa@host/v1", "http://host/v1"),
        ("http://user:p@ss@host:8000/v1", "http://host:8000/v1"),
        ("http://user:p/a?s#s@host/v1", "http://host/v1"),
        ("http://token@host/v1?api-key=abc#x", "http://host/v1"),
        ("https://host/v1", "https://host/v1"),
    ],
)
def test_the_address_is_shown_without_secrets(tmp_path, address, shown):
    assert public_address(Settings(openai_base_url=address, state_dir=tmp_path)) == shown


@pytest.mark.parametrize(
    "step", [failure(500, f"who is {PASSWORD}?"), (200, b"<html>"), failure(404)], ids=["error", "html", "missing"]
)
@pytest.mark.parametrize("form", ["http://{user}@{host}/v1", "http://{host}/v1?api-key={key}"], ids=["user", "query"])
def test_no_secret_of_the_address_is_said_or_logged(serve, model, caplog, step, form):
    caplog.set_level(logging.INFO)
    host = serve(step).address.removeprefix("http://")
    client = model(form.format(user=f"user:{PASSWORD}", key=PASSWORD, host=host), openai_api_key=None)
    with pytest.raises(ServiceError, match=host) as error:
        ask(client)
    assert PASSWORD not in str(error.value) + caplog.text + client.identity


@pytest.mark.parametrize("form", ["http://user:{}/x@127.0.0.1:9/v1", "http://user:{}@127.0.0.1:port/v1"])
def test_what_is_no_address_is_said_without_its_secrets(model, form):
    with pytest.raises(ServiceError, match=r"OPENAI_BASE_URL is not an address: http://127") as error:
        ask(model(form.format(PASSWORD)))
    assert PASSWORD not in str(error.value)


def test_a_key_that_is_no_secret_does_not_spoil_the_text(serve, model):
    with pytest.raises(ServiceError, match="none of these"):
        ask(model(serve(failure(400, "none of these")), openai_api_key="none"))


@pytest.fixture
def local(serve, model, tmp_path, monkeypatch):
    """Return a client of a local server, which takes 1000 s to start, and the server."""
    server = serve(answer())
    late = 0

    def start(name):
        nonlocal late
        assert name is LLM_SERVER
        late += 1000
        return server.address

    monkeypatch.setattr(client_module, "ensure_service", start)
    monkeypatch.setattr(client_module, "service_key", lambda _: "key of this start")
    # The clock by which httpx says how long a request took.
    clock = types.SimpleNamespace(perf_counter=lambda: time.perf_counter() + late)
    monkeypatch.setattr("httpx._client.time", clock)
    path = tmp_path / "other.gguf"
    path.write_bytes(b"model")
    values = {"openai_base_url": None, "openai_api_key": None, "llm_model": None, "local_model_path": path}
    return model(server, **values), server


def test_the_start_of_the_local_server_is_no_time_of_the_request(local):
    client, _ = local
    assert 0 < ask(client).seconds < 900


def test_the_local_server_gets_the_key_of_its_start(local):
    client, server = local
    ask(client)
    assert server.headers[-1]["authorization"] == "Bearer key of this start"


@pytest.mark.parametrize(("bundled", "expected"), [(True, BUNDLED_MAX_TOKENS), (False, 4000)])
def test_the_bundled_model_writes_only_so_much(local, bundled, expected):
    client, server = local
    if bundled:
        client = replace(client, settings=client.settings.model_copy(update={"local_model_path": None}))
    client.complete(MESSAGES, SCHEMA, max_tokens=4000, temperature=0.0)
    assert server.requests[0]["max_tokens"] == expected


def test_no_proxy_is_asked_for_the_local_server(local, monkeypatch):
    client, server = local
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(client).text
    assert server.requests[0]["model"] == "other"


def test_no_proxy_is_asked_for_another_server_of_this_machine(serve, model, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(model(f"{serve(answer()).address}/v1")).text


def test_an_error_on_the_way_names_the_proxy(model, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://user:hidden-word@127.0.0.1:9")
    with pytest.raises(ServiceError, match=r"through the proxy http://.*127\.0\.0\.1:9") as caught:
        ask(model("http://model.example/v1", max_retries=0))
    assert "hidden-word" not in str(caught.value)


def test_a_remote_server_is_asked_through_the_proxy(serve, model, monkeypatch):
    proxy = serve(answer())
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy.address)
    monkeypatch.setenv("http_proxy", proxy.address)
    assert ask(model("http://model.example/v1")).text
    assert proxy.paths == ["http://model.example/v1/chat/completions"]


def test_azure_address_key_and_version(serve, model):
    server = serve(answer())
    assert ask(model(server.address, openai_api_version="2024-10-21")).text
    assert server.paths == ["/openai/deployments/small/chat/completions?api-version=2024-10-21"]
    assert server.headers[0]["api-key"] == KEY


def test_azure_without_a_resource_says_what_to_set(model):
    with pytest.raises(ServiceError, match="OPENAI_BASE_URL"):
        ask(model("", openai_base_url=None, openai_api_version="2024-10-21"))


def test_extra_parameters_are_sent(serve, model):
    server = serve(answer())
    ask(model(server, llm_extra_parameters={"reasoning_effort": "low"}))
    assert server.requests[0]["reasoning_effort"] == "low"


def test_answer_that_ends_at_the_limit_is_marked(serve, model):
    assert ask(model(serve(answer('{"text": "h', finish_reason="length")))).is_cut


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


def test_no_model_named_lists_what_the_server_offers(serve, model):
    with pytest.raises(ServiceError, match=r"LLM_MODEL is not set.*offers: big, small"):
        ask(model(serve(answer()), llm_model=None))


@pytest.mark.parametrize(
    "refusal",
    [
        {"error": {"message": "The model `small` does not exist", "code": "model_not_found", "param": None}},
        {"error": {"message": 'model "small" not found, try pulling it first', "type": "api_error", "code": None}},
        {"object": "error", "message": "The model `small` does not exist.", "type": "NotFoundError", "code": 404},
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
    ],
    ids=["openai", "ollama", "vllm", "azure"],
)
def test_a_missing_model_lists_what_the_provider_offers(serve, model, refusal):
    with pytest.raises(ServiceError, match=r"does not exist.*offers: big, small|not found.*offers: big, small"):
        ask(model(serve((404, refusal))))


def test_a_call_from_a_running_event_loop(serve, model):
    """The kernel of Mage's editor runs one in the thread that executes a block."""

    async def block():
        return ask(model(serve(answer())))

    assert asyncio.run(block()).text


@pytest.mark.parametrize(
    ("step", "reason"),
    [(answer(), None), (answer(""), "answered nothing"), (failure(401), "check OPENAI_API_KEY")],
    ids=["answers", "empty", "refused"],
)
def test_probe(serve, tmp_path, step, reason):
    settings = Settings(openai_base_url=serve(step).url, llm_model="small", state_dir=tmp_path)
    said = probe(settings)
    assert said is None if reason is None else reason in said
