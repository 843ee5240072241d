import pytest

from workflows.common.errors import InvalidInputError
from workflows.common.parsing import strict_json, whole_number


@pytest.mark.parametrize(("value", "number"), [(0, 0), (12, 12), ("12", 12), (" 7 ", 7), (3.0, 3)])
def test_whole_numbers(value, number):
    assert whole_number("count", value) == number


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "", "1.5", "-1", "١", float("nan"), float("inf"), [1], 101])
def test_anything_else_is_refused_by_name(value):
    with pytest.raises(InvalidInputError) as caught:
        whole_number("count", value, 0, 100)
    assert set(caught.value.fields) == {"count"}


def test_json():
    assert strict_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    for text in ("NaN", "[Infinity]", "-Infinity", "1e999", "{", ""):
        with pytest.raises(ValueError):  # noqa: PT011
            strict_json(text)
