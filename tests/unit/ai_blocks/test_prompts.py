from pathlib import Path

import pytest
import yaml

from workflows.ai_blocks.prompts import PROMPTS_DIR, load_prompt
from workflows.common.errors import InvalidInputError

KIND = {"type": "string", "enum": ["sum", "product"]}
GOOD = {
    "version": "1",
    "system": "Be brief.",
    "inputs": ["item", "fact"],
    "prompt": "Number {{ item.number }}: {{ fact }}",
    "examples": [{"inputs": {"item": {"number": 4}, "fact": "sum"}, "answer": {"text": "4 is 2 + 2", "kind": "sum"}}],
    "output": {"format": {"text": {"type": "string", "maxLength": 20}, "kind": KIND}},
    "checks": [
        {"equals": {"field": "kind", "inputs": ["fact"]}},
        {"mentions": {"field": "text", "inputs": ["item.number"]}},
    ],
    "fallback": {"text": "{{ item.number }}"},
    "model": {"max_tokens": 10},
}


def load(folder: Path, **changes):
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    (folder / "test.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load_prompt("test", folder)


@pytest.mark.parametrize("path", sorted(PROMPTS_DIR.glob("*.yaml")), ids=lambda path: path.stem)
def test_bundled_prompts_load(path):
    assert load_prompt(path.stem).version


def example(inputs=None, answer=None):
    good = GOOD["examples"][0]
    return {"examples": [{"inputs": inputs or good["inputs"], "answer": answer or good["answer"]}]}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"temperature": 1}, "temperature"),
        ({"version": None}, "version"),
        ({"system": " "}, "system"),
        ({"prompt": "{{ item.number }} {{ colour }}"}, "colour"),
        ({"prompt": "{{ item.number }"}, "wrong"),
        ({"inputs": ["item", "fact", "unused"]}, "unused"),
        ({"inputs": ["item"]}, "fact"),
        ({"output": {"format": {"text": {"type": "strong"}}}, "examples": [], "checks": []}, "strong"),
        ({"output": {"format": {}}}, "output.format"),
        ({"output": {**GOOD["output"], "validation": ""}}, "output.validation"),
        ({"output": {**GOOD["output"], "valid": "yes"}}, "output.valid"),
        ({"checks": [{"equals": {"field": "sort", "inputs": ["fact"]}}]}, "sort"),
        ({"checks": [{"equals": {"field": "kind", "inputs": ["colour"]}}]}, "colour"),
        ({"checks": [{"equals": {"field": "kind", "input": "fact"}}]}, "input"),
        ({"checks": [{"is_nice": {"field": "kind"}}]}, "is_nice"),
        ({"checks": ["equals"]}, "name: options"),
        ({"checks": [{"avoids": {"field": "text", "patterns": ["("]}}]}, "not a regular expression"),
        ({"checks": [{"quotes": {"field": "te xt", "inputs": ["fact"]}}]}, "field"),
        ({"fallback": {"sort": "a"}}, "sort"),
        ({"fallback": {"text": "{{ colour }}"}}, "colour"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"model": {"max_tokens": 10, "top_p": 1}}, "top_p"),
        (example(inputs={"fact": "sum"}), "example 0"),
        (example(answer={"text": "4"}), "example 0"),
        (example(answer={"text": "4", "kind": "product"}), "example 0"),
        (example(answer={"text": "five", "kind": "sum"}), "example 0"),
    ],
)
def test_a_wrong_file_is_refused_and_the_error_names_what_is_wrong(tmp_path, changes, named):
    with pytest.raises(InvalidInputError, match=named):
        load(tmp_path, **changes)


def test_missing_file_and_no_mapping_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no prompt file"):
        load_prompt("test", tmp_path)
    (tmp_path / "test.yaml").write_text("- a list")
    with pytest.raises(InvalidInputError, match="not a mapping"):
        load_prompt("test", tmp_path)
    (tmp_path / "test.yaml").write_text("a: [")
    with pytest.raises(InvalidInputError, match="not YAML"):
        load_prompt("test", tmp_path)


def test_the_conversation(tmp_path):
    messages = load(tmp_path).messages({"item": {"number": 7}, "fact": "product"})
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1]["content"] == "Number 4: sum"
    assert messages[2]["content"] == '{"text": "4 is 2 + 2", "kind": "sum"}'
    assert messages[-1]["content"] == "Number 7: product"
    assert len(load(tmp_path).messages({"item": {"number": 7}, "fact": ""}, with_examples=False)) == 2


def test_json_in_a_template_keeps_characters_and_cannot_be_left(tmp_path):
    prompt = load(tmp_path, prompt="{{ item.number }} {{ fact | json }}")
    content = prompt.messages({"item": {"number": 7}, "fact": 'é" } system'})[-1]["content"]
    assert content == '7 "é\\" } system"'


@pytest.mark.parametrize(("inputs", "named"), [({"item": {}}, "fact"), ({"item": {}, "fact": "", "more": 1}, "more")])
def test_other_inputs_are_refused(tmp_path, inputs, named):
    with pytest.raises(InvalidInputError) as caught:
        load(tmp_path).check_inputs(inputs)
    assert set(caught.value.fields) == {named}


def test_what_the_template_does_not_find_is_said(tmp_path):
    with pytest.raises(InvalidInputError, match="number"):
        load(tmp_path).messages({"item": {}, "fact": "sum"})


def test_a_template_is_sandboxed(tmp_path):
    prompt = load(tmp_path, prompt="{{ item.__class__.__mro__ }} {{ fact }}")
    with pytest.raises(InvalidInputError, match="cannot be rendered"):
        prompt.messages({"item": {"number": 1}, "fact": ""})


def test_an_edited_file_is_read_again_and_is_another_prompt(tmp_path):
    first = load(tmp_path)
    assert load_prompt("test", tmp_path) is first
    assert load(tmp_path, system="Be very brief.").fingerprint != first.fingerprint
