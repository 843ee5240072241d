import math
import re

import pytest

from workflows.dynamic_blocks_workflow.number_facts import (
    PROPERTIES,
    claim_problem,
    equation_problem,
    facts_of,
    prime_factors,
    roman,
    text_problem,
)

KNOWN = {
    "prime": [2, 3, 5, 7, 11, 13, 17, 19, 23, 29],
    "composite": [4, 6, 8, 9, 10, 12, 14, 15, 16, 18, 20, 21, 22, 24, 25, 26, 27, 28],
    "square": [0, 1, 4, 9, 16, 25],
    "cube": [0, 1, 8, 27],
    "triangular": [0, 1, 3, 6, 10, 15, 21, 28],
    "fibonacci": [0, 1, 2, 3, 5, 8, 13, 21],
    "perfect": [6, 28],
    "palindrome": [*range(10), 11, 22],
    "power_of_two": [1, 2, 4, 8, 16],
    "even": [*range(0, 30, 2)],
    "odd": [*range(1, 30, 2)],
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties(name):
    assert [number for number in range(30) if PROPERTIES[name](number)] == KNOWN[name]


def test_properties_of_large_numbers():
    assert PROPERTIES["prime"](999_999_999_989)
    assert PROPERTIES["cube"](10**12)
    assert PROPERTIES["square"](10**12)
    assert PROPERTIES["fibonacci"](956_722_026_041)
    assert PROPERTIES["perfect"](33_550_336)


@pytest.mark.parametrize("number", [*range(300), 891, 1000, 4095, 4096, 10**6, 999_983, 10**12, 956_722_026_041])
def test_facts_are_true(number):
    facts = facts_of(number)
    assert facts
    for fact in facts:
        assert re.search(rf"\b{number}\b", fact)
        assert text_problem(number, fact) is None
        assert equation_problem(fact) is None


@pytest.mark.parametrize("number", [2, 12, 97, 360, 999_983, 10**12])
def test_prime_factors(number):
    factors = prime_factors(number)
    assert math.prod(factors) == number
    assert all(len(prime_factors(factor)) == 1 for factor in factors)


def test_roman():
    numbers = (1, 4, 9, 14, 40, 90, 400, 1994, 3999)
    assert [roman(n) for n in numbers] == ["I", "IV", "IX", "XIV", "XL", "XC", "CD", "MCMXCIV", "MMMCMXCIX"]


@pytest.mark.parametrize(
    ("number", "claim", "value", "is_true"),
    [
        (7, "prime", "", True),
        (8, "prime", "", False),
        (96, "roman", "XCVI", True),
        (96, "roman", "XCIV", False),
        (5000, "roman", "MMMMM", False),
        (5, "binary", "101", True),
        (5, "binary", "5", False),
        (12, "divisible_by", "3", True),
        (12, "divisible_by", "0", False),
        (12, "divisible_by", "five", False),
        (9, "equation", "3 × 3 = 9", True),
        (9, "equation", "3 times 3 equals 9", True),
        (9, "equation", "3 × 3 = 6", False),
        (9, "equation", "nine", False),
    ],
)
def test_claims(number, claim, value, is_true):
    assert (claim_problem(number, claim, value) is None) is is_true


@pytest.mark.parametrize(
    ("number", "text", "is_true"),
    [
        (7, "7 is not even and not a perfect square.", True),
        (7, "7 is not a prime number.", False),
        (14, "14 is the product of the prime numbers 2 and 7.", True),
        (1000, "1,000 is a perfect cube: 10 × 10 × 10 = 1,000!", True),
        (10, "1 + 2 + 3 + 5 = 10", False),
        (13, "5 plus 8 makes 13", True),
        (20, "2 × 5 + 10 = 20", True),
        (96, "Romans wrote XCIV.", False),
        (1, "I wrote a 1.", True),
    ],
)
def test_texts(number, text, is_true):
    assert (text_problem(number, text) is None) is is_true
