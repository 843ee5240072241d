"""The answers of servers and models as they come."""

import json

import pytest

from workflows.ai_blocks.completions import parse_json_object, read_completion

GOOD = '{"text": "hi"}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (GOOD, "hi"),
        (f"<think>maybe {{}} or {{\"text\": \"no\"}}</think>{GOOD}", "hi"),
        (f"thoughts without a beginning</think>\n{GOOD}", "hi"),
        (f"{GOOD}<think>was that right?</think>", "hi"),
        (f"<Reasoning>hm</Reasoning> {GOOD}", "hi"),
        (f"[THINK]hm[/THINK]{GOOD}", "hi"),
        (f"◁think▷hm◁/think▷{GOOD}", "hi"),
        (f"<|channel|>analysis<|message|>{{x}}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}", "hi"),
        (f"```json\n{GOOD}\n```\nI hope that helps!", "hi"),
        (f"Sure, here it is: {GOOD} Anything else?", "hi"),
        ('{"text": "two\nlines"}', "two\nlines"),
        ('{"text": "hi", "more": 1}', "hi"),
        ('{"text": "hi",}', "hi"),
        ("{'text': 'hi'}", "hi"),
        ('{"text": "a \\"quote\\" and a {brace}"}', 'a "quote" and a {brace}'),
        (f'{{"other": 1}} {GOOD}', "hi"),
        (f"<think>never ends {GOOD}", None),
        ('{"text": "cut of', None),
        ("", None),
        ("[1, 2]", None),
        ("null", None),
        ('{"other": 1}', None),
        ('{"text": NaN}', None),
        ("{" * 5000, None),
    ],
)  # fmt: skip
def test_parse_json_object(text, value):
    assert parse_json_object(text, {"text": {}}) == (None if value is None else {"text": value})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": GOOD}, GOOD),
        ({"content": [{"type": "text", "text": GOOD}]}, GOOD),
        ({"content": [{"type": "output_text", "text": GOOD}]}, GOOD),
        ({"content": [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "a"}]}, "a"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": None, "reasoning_content": GOOD}, GOOD),
        ({"content": "", "reasoning": GOOD}, GOOD),
        ({"content": None, "tool_calls": [{"function": {"name": "answer", "arguments": GOOD}}]}, GOOD),
        ({"content": None, "tool_calls": [{"function": {"arguments": {"text": "hi"}}}]}, GOOD),
        ({"content": None}, ""),
        ({"content": [3, {"type": "text"}]}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_the_text_of_a_message(message, text):
    body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}}
    completion = read_completion(body, "asked", 1.5)
    assert (completion.text, completion.model, completion.seconds, completion.is_cut) == (text, "asked", 1.5, False)
    assert (completion.input_tokens, completion.output_tokens) == (5, 0)


@pytest.mark.parametrize("choices", [[], [None], [{"message": "x"}], None, "x"])
def test_no_choice_is_an_empty_answer(choices):
    assert read_completion({"choices": choices}, "asked", 0).text == ""


def test_a_cut_answer_is_marked():
    choice = {"message": {"content": json.dumps({"text": "a"})[:5]}, "finish_reason": "length"}
    assert read_completion({"choices": [choice], "model": "named"}, "asked", 0).is_cut
