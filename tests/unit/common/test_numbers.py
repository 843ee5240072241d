import pytest

from workflows.common.numbers import numbers_in, unknown_number


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("33 % or 33% or 33 percent or 33 per cent", [33, 33, 33, 33]),
        ("seventy-four percent, one percent", [74, 1]),
        ("a hundred and twenty, two thousand five hundred", [120, 2500]),
        ("1,234 and 12,345,678 people", [1234, 12_345_678]),
        ("-3.5 and −4", [-3.5, -4]),
        ("a 21-year-old in D21", [21, 21]),
        ("in 1912, at 71.2833 pounds", [1912, 71.2833]),
        ("one of them, no one, first class, second, third class", []),
        ("half of them, two thirds, a quarter, three quarters", [0.5, 2 / 3, 0.75]),
        ("2 × 2 = 4", [2, 2, 4]),
    ],
)
def test_numbers_in(text, values):
    assert [number.value for number in numbers_in(text)] == pytest.approx(values)


@pytest.mark.parametrize(
    ("text", "known", "unknown"),
    [
        ("a chance of 33 %", [0.331], None),
        ("a chance of 33.1 %", [0.331], None),
        ("a chance of 33.2 %", [0.331], "33.2"),
        ("a chance of 67 %", [0.331], "67"),
        ("about a third of 900", [900], None),
        ("two thirds", [0.331], "two thirds"),
        ("two thirds", {"percent": 66}, None),
        ("half of them", [50], None),
        ("a fare of 71 pounds", {"fare": 71.2833}, None),
        ("a fare of 72 pounds", {"fare": 71.2833}, "72"),
        ("thirty years", [{"text": "I am 30"}], None),
        ("it lowered it by 3", [-3], None),
        ("100 of them", [1], "100"),
        ("all of them", [], None),
        ("7 days", [True, None, float("nan")], "7"),
    ],
)
def test_unknown_number(text, known, unknown):
    assert unknown_number(text, known) == unknown
