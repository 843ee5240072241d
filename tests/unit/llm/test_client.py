"""The client against a local server that speaks the protocol and misbehaves as told."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.provider import Provider, answer, failure
from workflows.errors import ServiceError
from workflows.llm.client import MAX_TRIES, ContextTooLongError, OpenAIModel
from workflows.llm.dialect import REASONING_TOKENS
from workflows.settings import Settings

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
MESSAGES = [{"role": "user", "content": "Hi"}]
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
        return OpenAIModel(Settings(**{**values, **changes}), clock=lambda: begin + sum(slept), sleep=slept.append)

    return make


def ask(model):
    return model.complete(MESSAGES, SCHEMA, max_tokens=20, temperature=0.3)


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
def test_passing_failures_are_retried_with_growing_delays(serve, model, slept, status):
    server = serve(failure(status), failure(status), failure(status), answer())
    assert ask(model(server)).text == '{"text": "hi"}'
    assert len(server.requests) == 4
    assert slept == sorted(slept)
    assert 0.3 < slept[0] < 1 < slept[-1] < 3


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("wish", [{"Retry_After": "7"}, {"retry_after_ms": "7000"}], ids=["seconds", "milliseconds"])
def test_the_wait_that_a_server_asks_for_is_kept(serve, model, slept, status, wish):
    ask(model(serve(failure(status, **wish), answer())))
    assert sum(slept) == pytest.approx(7, abs=0.1)


def test_the_wait_may_be_a_date(serve, model, slept):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    ask(model(serve(failure(503, Retry_After=soon), answer())))
    assert 60 < sum(slept) <= 100


def test_a_busy_provider_slows_down_and_does_not_fail(serve, model, slept):
    busy = [failure(429)] * (3 * MAX_TRIES)
    assert ask(model(serve(*busy, answer()), llm_budget_seconds=1)).text
    assert sum(slept) > 60


def test_a_pause_beyond_the_longest_wait_ends_at_once(serve, model, slept):
    server = serve(failure(429, "slow down", Retry_After="900"))
    with pytest.raises(
        ServiceError, match=r"429, slow down; it would mean waiting longer than 60 s \(LLM_WAIT_SECONDS\)"
    ):
        ask(model(server, llm_wait_seconds=60))
    assert (slept, len(server.requests)) == ([], 1)


def test_a_retry_beyond_the_budget_ends_at_once(serve, model, slept):
    server = serve(failure(503, "starting", Retry_After="900"))
    with pytest.raises(ServiceError, match="503, starting"):
        ask(model(server, llm_budget_seconds=60))
    assert (slept, len(server.requests)) == ([], 1)


def test_calls_per_minute_are_limited(serve, model, slept):
    server = serve(answer())
    for _ in range(7):
        ask(model(server, max_llm_calls_per_minute=3))
    assert sum(slept) == pytest.approx(120, abs=2)


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
        (failure(400, "the model `small` does not exist"), "does not exist; the server offers: big, small"),
        (failure(400, "flagged", code="content_filter"), "flagged"),
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


@pytest.mark.parametrize(
    "refusal",
    [
        failure(400, "This model's maximum context length is 4096 tokens."),
        failure(400, "the request exceeds the available context size, try increasing it"),
        failure(400, "Your input exceeds the context window of this model."),
        failure(400, "too much", code="context_length_exceeded"),
    ],
)
def test_too_long_a_context_is_an_error_of_its_own(serve, model, refusal):
    server = serve(refusal)
    with pytest.raises(ContextTooLongError):
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
    assert (completion.input_tokens == 0) == ("usage" in changes)


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
    assert len(server.requests) == 5, "what a server refuses is kept for other processes"


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
