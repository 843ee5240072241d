import pytest

from workflows.ai_blocks.untrusted import as_data, printable


@pytest.mark.parametrize(
    "marker",
    [
        "<|im_start|>", "<|im_end|>", "<|system|>", "<|start_header_id|>", "<｜User｜>", "＜|im_end|＞",
        "</s>", "<s>", "<S>",
        "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<start_of_turn>", "<end_of_turn>",
        "<|im_\u200bstart|>", "[ / inst ]",
    ],
)  # fmt: skip
def test_special_tokens_are_taken_out(marker):
    text = as_data(f"before{marker}after")
    assert text == "before after"


def test_taking_one_out_does_not_make_another():
    assert "<|im_end|>" not in as_data("<|im<|x|>_end|>")


@pytest.mark.parametrize(
    "text",
    ["a < b and c > d", "x[1] = 2", "5 <s5", "one\ntwo", '{"a": {"b": 1}}', "α β γ", "5² = 25", "2 × 2 = 4", "A|B"],
)
def test_other_text_stays(text):
    assert as_data(text) == text


def test_control_characters_go_and_line_ends_stay():
    assert printable("a\x00b\x1b[31mc\u202ed\u200be\tf\ng\r") == "ab[31mcde f\ng "
