import json
from pathlib import Path

import pytest
import yaml

from workflows.ai_blocks.prompts import PROMPTS_DIR, load_prompt
from workflows.common.errors import InvalidInputError

KIND = {"type": "string", "enum": ["sum", "product"]}
GOOD = {
    "version": "1",
    "system": "Be brief.",
    "inputs": ["number", "fact"],
    "prompt": "Number {number}: {fact}",
    "examples": [{"inputs": {"number": "4", "fact": "sum"}, "answer": {"text": "4 is 2 + 2", "kind": "sum"}}],
    "output": {"format": {"text": {"type": "string", "maxLength": 20}, "kind": KIND}},
    "validation": {
        "grounded": ["text"],
        "equals": {"kind": "fact"},
        "mentions": {"text": ["number"]},
        "forbidden": ["Hello", '"quoted"', "kind"],
    },
    "model": {"max_tokens": 10},
}


def load(folder: Path, **changes):
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    (folder / "test.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_prompt("test", folder)


@pytest.mark.parametrize("path", sorted(PROMPTS_DIR.glob("*.yaml")), ids=lambda path: path.stem)
def test_bundled_prompts_load(path):
    assert load_prompt(path.stem).version


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"temperature": 1}, "temperature"),
        ({"version": None}, "version"),
        ({"system": " "}, "system"),
        ({"inputs": ["number"]}, "fact"),
        ({"inputs": ["number", "fact", "unused"]}, "unused"),
        ({"output": {"format": {"text": {"type": "strong"}}}, "examples": [], "validation": {}}, "strong"),
        ({"output": {"format": {}}, "examples": [], "validation": {}}, "output.format"),
        ({"validation": {"equals": {"sort": "fact"}}}, "sort"),
        ({"validation": {"mentions": {"sort": ["fact"]}}}, "sort"),
        ({"validation": {"grounded": ["sort"]}}, "sort"),
        ({"validation": {"otherwise": {"sort": "a"}}}, "sort"),
        ({"validation": {"mentions": {"text": ["colour"]}}}, "colour"),
        ({"validation": {"equals": {"kind": "colour"}}}, "colour"),
        ({"may_be_cut": ["colour"]}, "colour"),
        ({"validation": {"grounded": ["text"]}}, "kind"),
        ({"validation": {"grounded": ["text", "kind"], "equals": {"kind": "fact"}}}, "kind"),
        ({"validation": {"grounded": ["text"], "otherwise": {"kind": "difference"}}}, "kind does not fit"),
        ({"validation": {"max_attempts": 0}}, "max_attempts"),
        ({"model": {"max_tokens": 10, "top_p": 1}}, "top_p"),
        ({"examples": [{"inputs": {"number": "4"}, "answer": {"text": "4", "kind": "sum"}}]}, "example"),
        ({"examples": [{"inputs": {"number": "4", "fact": ""}, "answer": {"text": "4"}}]}, "kind"),
        (
            {"examples": [{"inputs": {"number": "4", "fact": "product"}, "answer": {"text": "4", "kind": "sum"}}]},
            "kind",
        ),
        ({"inputs": ["number", "fact", "fact"]}, "twice"),
        ({"prompt": "{number!r}: {fact}"}, "no other way"),
        ({"prompt": "{number:>{fact}}"}, "no other way"),
        ({"prompt": "{number}: {fact.text}"}, "no other way"),
        ({"output": {"format": {"text": {"type": "string", "maxLenght": 9}, "kind": KIND}}}, "maxLenght"),
        ({"output": {"format": {"text": {"type": "string", "items": {"typ": 1}}, "kind": KIND}}}, "typ"),
        ({"output": {"format": {"text": {"type": "string"}, "kind": {"type": "integer"}}}, "examples": []}, "string"),
    ],
)
def test_wrong_file_is_refused_and_the_error_names_what_is_wrong(tmp_path, changes, named):
    with pytest.raises(InvalidInputError, match=named):
        load(tmp_path, **changes)


def test_missing_file_and_no_mapping_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no prompt file"):
        load_prompt("test", tmp_path)
    (tmp_path / "test.yaml").write_text("- a list")
    with pytest.raises(InvalidInputError, match="no mapping"):
        load_prompt("test", tmp_path)


def test_messages_hold_system_examples_and_the_question(tmp_path):
    messages = load(tmp_path).messages({"number": "6", "fact": "3 + 3 = 6"})
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert json.loads(messages[2]["content"]) == {"text": "4 is 2 + 2", "kind": "sum"}
    assert messages[3]["content"] == "Number 6: 3 + 3 = 6"


def test_braces_in_an_input_are_plain_text(tmp_path):
    messages = load(tmp_path).messages({"number": "{fact}", "fact": "{0} {number.__class__}"})
    assert messages[3]["content"] == "Number {fact}: {0} {number.__class__}"


def test_other_inputs_than_the_prompts_are_refused(tmp_path):
    with pytest.raises(InvalidInputError) as error:
        load(tmp_path).messages({"number": "6", "colour": "red"})
    assert set(error.value.fields) == {"fact", "colour"}


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"text": "6", "kind": "sum"}, None),
        ({"text": "6"}, "kind"),
        ({"text": 6, "kind": "sum"}, "text"),
        ({"text": "6" * 21, "kind": "sum"}, "text"),
        ({"text": "6", "kind": "square"}, "kind"),
        ({"text": "6", "kind": "sum", "more": 1}, "more"),
        (["6"], "object"),
    ],
)
def test_misfit(tmp_path, answer, named):
    reason = load(tmp_path).misfit(answer)
    assert reason is None if named is None else named in reason


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"text": "6 it is", "kind": "sum"}, None),
        ({"text": "6 it is", "kind": "product"}, "kind"),
        ({"text": "it is", "kind": "sum"}, "mention"),
        ({"text": "6, hello", "kind": "sum"}, "Hello"),
        ({"text": '6 "quoted"', "kind": "sum"}, "quoted"),
    ],
)
def test_broken_rule(tmp_path, answer, named):
    reason = load(tmp_path).broken_rule(answer, {"number": "6", "fact": "sum"})
    assert reason is None if named is None else named in reason
