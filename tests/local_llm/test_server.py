"""The real local server with the bundled model."""

import json
import time

import psutil
import pytest
import requests

from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.client import LanguageModel, RequestTooLargeError, probe
from workflows.ai_blocks.prompts import Prompt
from workflows.common.http import local_get
from workflows.common.local_services import ensure_service, running_service, service_key, stop_services
from workflows.common.settings import get_settings
from workflows.local_llm.model import LLM_SERVER

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["yes", "no"]}},
    "required": ["answer"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model():
    yield LanguageModel(get_settings())
    stop_services()


def test_answers_in_the_form_asked_for(model):
    completion = model.complete([{"role": "user", "content": "Is fire hot?"}], SCHEMA, 80, 0.0)
    assert json.loads(completion.text)["answer"] in {"yes", "no"}
    assert completion.model == "smollm2-135m-instruct"
    assert completion.input_tokens > 5
    assert completion.output_tokens > 2


def test_too_long_a_prompt_is_noticed(model):
    with pytest.raises(RequestTooLargeError, match="exceeds the available context"):
        model.complete([{"role": "user", "content": "fire " * 3000}], SCHEMA, 20, 0.0)


def test_service_is_shared_and_offers_its_model(model):
    url = ensure_service(LLM_SERVER)
    assert ensure_service(LLM_SERVER) == url
    offered = local_get(f"{url}/v1/models", 5, service_key(LLM_SERVER)).json()
    assert [entry["id"] for entry in offered["data"]] == ["smollm2-135m-instruct"]


def test_it_answers_a_short_question(model):
    assert probe(get_settings()) is None


def test_what_repeats_its_prompt_is_guessed(model):
    text = "The ship left Southampton on the tenth of April with two thousand people on board. "
    messages = [{"role": "user", "content": f"Write this three times, word for word: {text * 3}"}]
    request = {"messages": messages, "max_tokens": 80, "temperature": 0}
    url = f"{ensure_service(LLM_SERVER)}/v1/chat/completions"
    key = {"Authorization": f"Bearer {service_key(LLM_SERVER)}"}
    timings = requests.post(url, json=request, headers=key, timeout=60).json()["timings"]
    assert timings["draft_n_accepted"] > 20


def test_a_block_gets_an_answer_whatever_the_model_says(model):
    prompt = Prompt(
        name="test",
        version="1",
        system="Answer as JSON.",
        inputs=["animal"],
        prompt="Say something about a {{ animal }}.",
        output={"format": {"text": {"type": "string", "maxLength": 60}}},
        checks=[{"mentions": {"field": "text", "inputs": ["animal"]}}],
        fallback={"text": "A {{ animal }} is an animal."},
        model={"max_tokens": 40},
    )
    answer = ask(prompt, {"animal": "cat"}, model=model)
    assert "cat" in answer.values["text"].lower()
    assert answer.source in {"model", "facts"}
    assert answer.input_tokens > 10


def test_server_ends_when_idle_and_is_started_again(model, tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    ensure_service(LLM_SERVER, idle_exit_seconds=1)
    deadline = time.monotonic() + 60
    while running_service(LLM_SERVER) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running_service(LLM_SERVER) is None
    completion = LanguageModel(get_settings()).complete([{"role": "user", "content": "Is ice hot?"}], SCHEMA, 20, 0.0)
    assert completion.text
    assert stop_services() == ["llm_server"]


def test_server_ends_at_once_at_sigterm_under_load(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    url = ensure_service(LLM_SERVER)
    record = json.loads((tmp_path / "services" / "llm_server.json").read_text())
    request = {"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 1500, "stream": True}
    key = {"Authorization": f"Bearer {service_key(LLM_SERVER)}"}
    with requests.post(f"{url}/v1/chat/completions", json=request, headers=key, stream=True, timeout=30) as answer:
        next(answer.iter_lines())
        process = psutil.Process(record["pid"])
        process.terminate()
        process.wait(timeout=5)
    assert running_service(LLM_SERVER) is None
