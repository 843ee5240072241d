import math
import re

import numpy as np
import pytest

from workflows.ai_blocks.grounding import objection
from workflows.ai_blocks.prompts import load_prompt
from workflows.common.errors import InvalidInputError
from workflows.dynamic_blocks.fun_facts import facts_of, fun_fact, prime_factors, roman


@pytest.mark.parametrize("number", [*range(300), 891, 1000, 4095, 4096, 10**6, 999_983, 10**12])
def test_every_fact_passes_its_own_check(number):
    facts = facts_of(number)
    assert facts
    for fact in facts:
        assert objection(fact.text, [fact], {str(number)}) is None
        assert re.search(rf"\b{number}\b", fact.text)


def test_properties_are_true():
    def having(word):
        return [n for n in range(1, 150) if any(f" {word}" in fact.text for fact in facts_of(n))]

    assert having("prime number:")[:6] == [2, 3, 5, 7, 11, 13]
    assert having("prime number:") == [n for n in range(2, 150) if all(n % d for d in range(2, n))]
    assert having("square") == [n * n for n in range(2, 13)]
    assert having("cube") == [8, 27, 64, 125]
    assert having("perfect") == [6, 28]
    assert having("triangular") == [3, 6, 10, 15]
    assert having("Fibonacci") == [5, 8, 13, 21, 34, 55, 89, 144]
    assert having("power of 2") == [2, 4, 8, 16, 32, 64, 128]
    assert having("palindrome") == [*range(11, 100, 11), 101, 111, 121, 131, 141]


def test_equations_in_facts_hold():
    for number in range(400):
        for fact in facts_of(number):
            for equation in re.findall(r"\d+(?: [×+] \d+)+ = \d+", fact.text):
                left, right = equation.split(" = ")
                assert eval(left.replace("×", "*")) == int(right) == number


@pytest.mark.parametrize("number", [2, 12, 97, 360, 999_983, 10**12])
def test_prime_factors(number):
    factors = prime_factors(number)
    assert math.prod(factors) == number
    assert all(len(prime_factors(factor)) == 1 for factor in factors)


def test_roman():
    assert [roman(n) for n in (1, 4, 9, 14, 40, 90, 400, 1994, 3999)] == (
        ["I", "IV", "IX", "XIV", "XL", "XC", "CD", "MCMXCIV", "MMMCMXCIX"]
    )


@pytest.mark.parametrize(
    "text",
    [
        "The number 7 is a prime number: only 1 and 3 divide it!",
        "7 is a perfect number.",
        "7 is not a prime number.",
        "7 is a prime number, and so is 11.",
        "7 is the only even prime number.",
    ],
)
def test_false_fun_fact_is_refused(text):
    assert objection(text, facts_of(7)[:1], {"7"}) is not None


def test_answer_of_the_model_with_where_it_comes_from(scripted):
    answer = fun_fact(7, scripted({"fun_fact": "Did you know that 7 is a prime number?"}))
    assert answer["number"] == 7
    assert answer["fun_fact"] == "Did you know that 7 is a prime number?"
    assert answer["fact"] == "7 is a prime number: only 1 and 7 divide it."
    assert (answer["source"], answer["model"], answer["attempts"]) == ("model", "scripted", 1)


def test_nonsense_ends_in_the_fact(scripted):
    answer = fun_fact(7, scripted(*[{"fun_fact": "The number 7 was invented by Plato."}] * 9))
    assert answer["fun_fact"] == "7 is a prime number: only 1 and 7 divide it."
    assert answer["source"] == "facts"


def test_text_without_the_number_is_refused(scripted):
    assert fun_fact(7, scripted(*[{"fun_fact": "It is a prime number."}] * 9))["source"] == "facts"


def test_numbers_of_numpy_are_fine(scripted):
    answer = fun_fact(np.int64(7), scripted({"fun_fact": "7 is a prime number."}))
    assert type(answer["number"]) is int


@pytest.mark.parametrize("number", [-1, 10**12 + 1, 1.5, "7", None, True])
def test_other_input_is_refused(scripted, number):
    with pytest.raises(InvalidInputError) as error:
        fun_fact(number, scripted())
    assert "number" in error.value.fields


def test_examples_of_the_prompt_pass_the_check():
    for example in load_prompt("generate_fun_fact").examples:
        number = int(example.inputs["number"])
        fact = next(fact for fact in facts_of(number) if fact.text == example.inputs["fact"])
        assert objection(example.answer["fun_fact"], [fact], {str(number)}) is None
