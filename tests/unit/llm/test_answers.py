import pytest

from workflows.llm.answers import ask, parse_json_object
from workflows.llm.prompts import Prompt

PROMPT = Prompt(
    name="test",
    version="7",
    system="Be brief.",
    inputs=["fact"],
    prompt="Fact: {fact}",
    output={"format": {"text": {"type": "string"}}},
    validation={"max_attempts": 3, "forbidden": ["secret"]},
    model={"max_tokens": 10, "temperature": 0.1, "retry_temperature": 0.9},
)


def run(model, check=lambda _: None):
    return ask(PROMPT, {"fact": "1 + 1 = 2"}, {"text": "from facts"}, check, model)


def test_first_good_answer_is_taken(scripted):
    model = scripted({"text": "two"})
    answer = run(model)
    assert answer.values == {"text": "two"}
    assert answer.provenance() == {
        "source": "model",
        "model": "scripted",
        "prompt_version": "7",
        "attempts": 1,
        "tokens": 10,
        "seconds": 0.5,
        "refusals": [],
    }


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ("", "empty"),
        ('{"text": "tw', "whole JSON"),
        ("[1]", "whole JSON"),
        ({"text": 2}, "text"),
        ({"text": "the secret"}, "secret"),
        ({"text": "three"}, "three is wrong"),
    ],
)
def test_refused_answer_is_asked_again_with_the_reason(scripted, refused, reason):
    model = scripted(refused, {"text": "two"})
    answer = run(model, lambda values: "three is wrong" if values["text"] == "three" else None)
    assert (answer.source, answer.attempts, answer.tokens, answer.seconds) == ("model", 2, 20, 1.0)
    assert reason in answer.refusals[0]
    assert answer.refusals[0] in model.asked[1][-1]["content"]
    assert "Fact: 1 + 1 = 2" in model.asked[1][-1]["content"]
    assert model.temperatures == [0.1, 0.9]


def test_facts_answer_where_no_attempt_passes(scripted):
    model = scripted("", "nonsense", {"text": "secret"}, {"text": "too late"})
    answer = run(model)
    assert (answer.values, answer.source) == ({"text": "from facts"}, "facts")
    assert (answer.attempts, answer.tokens, len(answer.refusals)) == (3, 30, 3)


def test_only_the_last_refusal_is_repeated_to_the_model(scripted):
    model = scripted("", "nonsense", {"text": "two"})
    run(model)
    assert "empty" not in model.asked[2][-1]["content"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": {"b": 2}}\n```', {"a": {"b": 2}}),
        ('{"a": 1', None),
        ("nothing", None),
        ("}{", None),
        ("[1, 2]", None),
    ],
)
def test_parse_json_object(text, value):
    assert parse_json_object(text) == value
