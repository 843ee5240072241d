import json
import logging
import os
import threading

import pytest

from tests.provider import Provider, answer, failure
from workflows.ai_blocks import answers
from workflows.ai_blocks.answers import ask, parse_json_object
from workflows.ai_blocks.client import Completion, ContextTooLongError, TooManyTokensError
from workflows.ai_blocks.grounding import Fact
from workflows.ai_blocks.prompts import Prompt
from workflows.common.errors import InvalidInputError, ServiceError
from workflows.common.settings import Settings

CONTENT = {
    "version": "7",
    "system": "Be brief.",
    "inputs": ["kind", "facts"],
    "may_be_cut": ["facts"],
    "prompt": "{kind}: {facts}",
    "output": {
        "format": {"text": {"type": "string"}, "kind": {"type": "string"}, "mood": {"enum": ["happy", "unknown"]}}
    },
    "validation": {
        "max_attempts": 3,
        "forbidden": ["secret"],
        "grounded": ["text"],
        "equals": {"kind": "kind"},
        "otherwise": {"mood": "unknown"},
    },
    "model": {"max_tokens": 10, "temperature": 0.1, "retry_temperature": 0.9},
}
PROMPT = Prompt(name="test", **CONTENT)
FACTS = [Fact("Cats purr."), Fact("Dogs bark."), Fact("Birds sing."), Fact("Fish swim.")]
GOOD = {"text": "Cats purr.", "kind": "sounds", "mood": "happy"}
FROM_FACTS = {"text": "Cats purr. Dogs bark. Birds sing. Fish swim.", "kind": "sounds", "mood": "unknown"}


def run(model, **changes):
    return ask(PROMPT, {"kind": "sounds"}, FACTS, **{"model": model, **changes})


def test_first_good_answer_is_taken(scripted):
    model = scripted(GOOD)
    answer = run(model)
    assert answer.values == GOOD
    assert answer.provenance() == {
        "source": "model",
        "model": "scripted",
        "prompt_version": "7",
        "attempts": 1,
        "tokens": 10,
        "input_tokens": 8,
        "output_tokens": 2,
        "seconds": 0.5,
        "refusals": [],
        "cut": [],
        "cached": False,
    }
    assert model.asked[0][-1]["content"] == "sounds: - Cats purr.\n- Dogs bark.\n- Birds sing.\n- Fish swim."


@pytest.mark.parametrize(
    ("refused", "kind", "reason"),
    [
        ("", "format", "empty"),
        ('{"text": "tw', "format", "whole JSON"),
        ("[1]", "format", "whole JSON"),
        ({**GOOD, "text": 2}, "format", "text"),
        ({"text": "Cats purr."}, "format", "required"),
        ({**GOOD, "more": 1}, "format", "more"),
        ({**GOOD, "text": "the secret"}, "rule", "secret"),
        ({**GOOD, "kind": "colours"}, "rule", "kind has to be"),
        ({**GOOD, "text": "Cats bark."}, "facts", "Cats bark"),
        ({**GOOD, "text": "Fish swim."}, "facts", "no cat"),
    ],
)
def test_refused_answer_is_asked_again_with_the_reason(scripted, refused, kind, reason):
    model = scripted(refused, GOOD)
    answer = run(model, check=lambda values: None if "Cats" in values["text"] else "no cat")
    assert (answer.source, answer.attempts, answer.input_tokens, answer.seconds) == ("model", 2, 16, 1.0)
    assert answer.refusals[0].kind == kind
    assert reason in answer.refusals[0].reason
    assert answer.provenance()["refusals"] == [{"kind": kind, "reason": answer.refusals[0].reason}]
    assert answer.refusals[0].reason in model.asked[1][-1]["content"]
    assert "Cats purr" in model.asked[1][-1]["content"]
    assert model.temperatures == [0.1, 0.9]


def test_facts_answer_where_no_attempt_passes(scripted):
    model = scripted("", "nonsense", {**GOOD, "text": "secret"}, GOOD)
    answer = run(model)
    assert (answer.values, answer.source) == (FROM_FACTS, "facts")
    assert (answer.attempts, answer.output_tokens, len(answer.refusals)) == (3, 6, 3)


def test_only_the_last_refusal_is_repeated_to_the_model(scripted):
    model = scripted("", "nonsense", GOOD)
    run(model)
    assert "empty" not in model.asked[2][-1]["content"]


def test_grounded_fields_need_facts(scripted):
    with pytest.raises(InvalidInputError, match="facts"):
        ask(PROMPT, {"kind": "sounds"}, [], model=scripted(GOOD))


class SmallModel:
    """Takes a question only up to a number of characters."""

    identity = "small"

    def __init__(self, characters, *texts):
        self.characters = characters
        self.texts = list(texts) or [json.dumps(GOOD)]
        self.asked = []

    def complete(self, messages, schema, max_tokens, temperature):
        self.asked.append(messages)
        if sum(len(message["content"]) for message in messages) > self.characters:
            raise ContextTooLongError("too long")
        return Completion(text=self.texts.pop(0), model="small", input_tokens=1, output_tokens=1, seconds=0.1)


def with_examples():
    example = {"inputs": {"kind": "a", "facts": "b" * 500}, "answer": {"text": "a", "kind": "a", "mood": "happy"}}
    return Prompt(name="test", **{**CONTENT, "examples": [example]})


class TestTooLongAContext:
    def test_the_examples_go_first(self):
        model = SmallModel(200)
        answer = ask(with_examples(), {"kind": "sounds"}, FACTS, model=model)
        assert answer.cut == ("the examples",)
        assert answer.source == "model"
        assert "Fish swim." in model.asked[-1][-1]["content"]

    def test_then_the_later_half_of_the_lines(self):
        model = SmallModel(50)
        answer = ask(with_examples(), {"kind": "sounds"}, FACTS, model=model)
        assert model.asked[-1][-1]["content"] == "sounds: - Cats purr.\n- Dogs bark."
        assert answer.cut == ("the examples", "facts: 25 of 52 characters kept")

    def test_of_a_single_line_the_later_half_of_the_words(self):
        model = SmallModel(30)
        answer = ask(PROMPT, {"kind": "sounds", "facts": "one two three four five six seven"}, FACTS, model=model)
        assert model.asked[-1][-1]["content"] == "sounds: one two three"
        assert answer.cut == ("facts: 13 of 33 characters kept",)

    def test_a_cut_prompt_is_answered_by_the_whole_facts(self):
        answer = ask(PROMPT, {"kind": "sounds"}, FACTS, model=SmallModel(50, "", "", ""))
        assert (answer.values, answer.attempts) == (FROM_FACTS, 3)

    def test_what_may_not_be_cut_is_an_error(self):
        model = SmallModel(5)
        with pytest.raises(ContextTooLongError):
            ask(PROMPT, {"kind": "sounds"}, FACTS, model=model)
        assert 3 <= len(model.asked) < 10


def test_an_answer_that_broke_off_gets_more_room(scripted):
    class Brief(scripted):
        def complete(self, messages, schema, max_tokens, temperature):
            completion = super().complete(messages, schema, max_tokens, temperature)
            return Completion(**{**vars(completion), "is_cut": max_tokens < 100})

    model = Brief("", '{"text": "Ca', GOOD)
    answer = run(model)
    assert model.max_tokens == [10, 40, 160]
    assert answer.source == "model"
    assert "broke off" in answer.refusals[0].reason


@pytest.mark.parametrize("refused", [ContextTooLongError, TooManyTokensError])
def test_where_there_is_no_more_room_the_answer_is_asked_for_as_before(scripted, refused):
    class Small(scripted):
        def complete(self, messages, schema, max_tokens, temperature):
            if max_tokens > 10:
                raise refused("no room")
            completion = super().complete(messages, schema, max_tokens, temperature)
            return Completion(**{**vars(completion), "is_cut": True})

    answer = run(Small("", "", ""))
    assert (answer.source, answer.attempts, answer.cut) == ("facts", 3, ())


def test_a_prompt_that_asks_for_more_tokens_than_the_server_has_is_an_error(scripted):
    class Tiny(scripted):
        def complete(self, messages, schema, max_tokens, temperature):
            raise TooManyTokensError("at most 5")

    with pytest.raises(TooManyTokensError):
        run(Tiny())


@pytest.fixture
def provider(tmp_path, monkeypatch):
    """Configure a provider with a state folder of its own."""
    providers = []

    def make(*script, **changes):
        providers.append(Provider(*script))
        values = {"openai_base_url": providers[0].url, "llm_model": "m", "state_dir": tmp_path, **changes}
        monkeypatch.setattr(answers, "get_settings", lambda: Settings(**values))
        return providers[0]

    yield make
    for one in providers:
        one.stop()


def good():
    return answer(json.dumps(GOOD))


class TestKeptAnswers:
    def test_the_same_question_is_asked_once(self, provider):
        server = provider(good())
        first, second = run(None), run(None)
        assert len(server.requests) == 1
        assert (first.cached, second.cached) == (False, True)
        assert second.values == first.values == GOOD
        assert second.provenance() == {**first.provenance(), "cached": True}

    def test_an_answer_from_the_facts_is_kept_too(self, provider):
        server = provider(answer("nonsense"))
        run(None)
        kept = run(None)
        assert len(server.requests) == 3
        assert (kept.values, kept.source, kept.cached) == (FROM_FACTS, "facts", True)
        assert [refusal.kind for refusal in kept.refusals] == ["format"] * 3

    @pytest.mark.parametrize(
        "other",
        [
            {"prompt": Prompt(name="test", **{**CONTENT, "version": "8"})},
            {"prompt": Prompt(name="test", **{**CONTENT, "system": "Be long."})},
            {"prompt": Prompt(name="other", **CONTENT)},
            {"inputs": {"kind": "sounds", "facts": "others"}},
            {"facts": FACTS[:2]},
            {"llm_model": "other"},
            {"llm_extra_parameters": {"seed": 1}},
        ],
        ids=["version", "text", "name", "input", "facts", "model", "parameters"],
    )
    def test_another_question_is_asked(self, provider, other):
        question = {"prompt": PROMPT, "inputs": {"kind": "sounds"}, "facts": FACTS}
        server = provider(good())
        ask(**question)
        provider(good(), **{name: value for name, value in other.items() if name not in question})
        answered = ask(**{name: other.get(name, value) for name, value in question.items()})
        assert len(server.requests) == 2
        assert not answered.cached

    def test_a_kept_answer_is_judged_again(self, provider):
        server = provider(good())
        run(None)
        answered = run(None, check=lambda _: "no longer good")
        assert len(server.requests) == 1 + 3
        assert (answered.source, answered.cached) == ("facts", False)

    def test_a_damaged_one_is_asked_for_again(self, provider, tmp_path):
        server = provider(good())
        run(None)
        (file,) = (tmp_path / "llm" / "answers").glob("*.json")
        for content in (
            '{"values": 1}',
            '{"source": "model"',
            json.dumps({**json.loads(file.read_text()), "cut": None}),
        ):
            file.write_text(content)
            assert not run(None).cached
        assert len(server.requests) == 4

    def test_it_can_be_turned_off(self, provider, tmp_path):
        server = provider(good(), llm_cache=False)
        assert not run(None).cached
        assert not run(None).cached
        assert len(server.requests) == 2
        assert not (tmp_path / "llm" / "answers").exists()

    def test_many_at_the_same_time_ask_once(self, provider):
        server = provider(good(), max_llm_calls_at_once=8)
        server.delay_seconds = 0.1
        threads = [threading.Thread(target=run, args=(None,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.requests) == 1

    def test_a_failure_is_not_kept(self, provider):
        server = provider(failure(401), good())
        with pytest.raises(ServiceError):
            run(None)
        assert run(None).source == "model"
        assert len(server.requests) == 2


def test_a_provider_with_a_small_context_gets_a_shorter_prompt(provider):
    def small(request):
        long = sum(len(message["content"]) for message in request["messages"]) > 50
        return failure(400, "maximum context length is 10 tokens") if long else good()

    server = provider(small)
    assert run(None).cut == ("facts: 25 of 52 characters kept",)
    assert len(server.requests) == 2


def test_a_context_that_is_configured_is_kept_to_ahead(provider):
    server = provider(good(), llm_context_tokens=256)
    facts = [Fact(f"Cats purr{' and purr' * number}.") for number in range(30)]
    answered = ask(PROMPT, {"kind": "sounds"}, facts)
    assert len(server.requests) == 1
    assert sum(len(message["content"]) for message in server.requests[0]["messages"]) < 256 * 4
    assert answered.cut


def test_tokens_are_booked_to_the_run_and_logged(provider, tmp_path, caplog):
    provider(good())
    with caplog.at_level(logging.INFO):
        run(None, run=5)
        run(None, run=5)
        run(None)
    lines = (tmp_path / "llm" / "usage" / "run_00000005.jsonl").read_text().splitlines()
    assert [json.loads(line)["cached"] for line in lines] == [False, True]
    assert [(json.loads(line)["input_tokens"], json.loads(line)["prompt"]) for line in lines] == [(5, "test")] * 2
    assert "So far in this run: 2 answers, 2 of the model, 5 tokens read, 2 written" in caplog.text


def test_an_answer_is_not_lost_because_it_cannot_be_kept_or_booked(provider, tmp_path):
    provider(good())
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "usage").write_text("no folder")
    (tmp_path / "llm" / "answers" / "size.lock").mkdir(parents=True)
    assert run(None).values == GOOD


def test_the_tokens_of_a_failed_question_are_booked(provider, tmp_path):
    provider(answer("nonsense"), failure(401))
    with pytest.raises(ServiceError):
        run(None, run=5)
    (line,) = (tmp_path / "llm" / "usage" / "run_00000005.jsonl").read_text().splitlines()
    assert (json.loads(line)["source"], json.loads(line)["input_tokens"]) == ("failed", 5)


@pytest.mark.parametrize("script", [[answer("")], [failure(400, "context length"), good()]], ids=["empty", "cut"])
def test_what_would_be_answered_better_later_is_not_kept(provider, script):
    server = provider(*script)
    run(None)
    before = len(server.requests)
    assert not run(None).cached
    assert len(server.requests) > before


def test_answers_judged_by_other_rules_are_asked_for_again(provider, monkeypatch):
    server = provider(good())
    run(None)
    monkeypatch.setattr(answers, "_rules", lambda: "newer")
    assert not run(None).cached
    assert len(server.requests) == 2


def test_an_edited_prompt_file_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "test.yaml"
    monkeypatch.setattr(answers, "PROMPTS_DIR", tmp_path)
    monkeypatch.setattr(answers, "load_prompt", lambda _: path.read_text())
    answers._loaded.cache_clear()
    path.write_text("one")
    assert answers._prompt("test") == "one"
    path.write_text("two")
    os.utime(path, (1, 1))
    assert answers._prompt("test") == "two"
    answers._loaded.cache_clear()


def test_facts_beyond_the_room_of_the_format_are_left_out_from_the_end(scripted):
    format_ = {**CONTENT["output"]["format"], "text": {"type": "string", "maxLength": 25}}
    brief = Prompt(name="test", **{**CONTENT, "output": {"format": format_}})
    assert ask(brief, {"kind": "sounds"}, FACTS, model=scripted("", "", "")).values["text"] == "Cats purr. Dogs bark."
    with pytest.raises(InvalidInputError, match="does not fit"):
        ask(brief, {"kind": "sounds"}, [Fact("Cats purr" + " loudly" * 9 + ".")], model=scripted())


def test_a_reason_is_short_and_data(scripted):
    model = scripted({**GOOD, "kind": "<|im_end|>" + "x" * 9000}, GOOD)
    refusal = run(model).refusals[0]
    assert len(refusal.reason) <= answers.MAX_REASON_CHARACTERS
    assert "<|im_end|>" not in model.asked[1][-1]["content"]
    model = scripted({**GOOD, "text": "<|im_end|> Cows moo."}, GOOD)
    assert run(model).source == "model"
    assert "<|im_end|>" not in model.asked[1][-1]["content"]


def test_inputs_that_are_no_unicode_are_cleaned(provider):
    provider(good())
    assert ask(PROMPT, {"kind": "sou\ud800nds"}, FACTS).source == "model"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": {"b": 2}}\n```', {"a": {"b": 2}}),
        ('{"a": 1', None),
        ("nothing", None),
        ("}{", None),
        ("[1, 2]", None),
        ('<think>{"b": 1} or {</think>\n{"a": 1}', {"a": 1}),
        ('{"b": 1} or {</think>\n{"a": 1}', {"a": 1}),
        ('<think>maybe {"a": 1}', None),
        ('{"a": NaN}', None),
        ('{"a": ' + "9" * 5000 + "}", None),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", None),
    ],
)
def test_parse_json_object(text, value):
    assert parse_json_object(text) == value
