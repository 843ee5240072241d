"""A fun fact about a number: computed and true, worded by a model."""

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from workflows.errors import InvalidInputError
from workflows.llm.answers import ask
from workflows.llm.client import LanguageModel
from workflows.llm.grounding import Fact, first_unsupported

# Factors are searched by trial division, at most a million steps here.
MAX_NUMBER = 10**12
MAX_TERMS_SHOWN = 5
ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"),
    (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip


def fun_fact(number: int, model: LanguageModel | None = None, run: object = None) -> dict[str, Any]:
    """Return a fun fact about a whole number of at most 10^12.

    Args:
        number: What the fact is about.
        model: Whom to ask; by default the configured one.
        run: Id of the pipeline run, to which the tokens are booked.

    Returns:
        `number`, `fun_fact` (a sentence), `fact` (what it rests on) and where it comes from, see
        `Answer.provenance`.

    Raises:
        InvalidInputError: not a whole number, or out of range.
        ServiceError: the model's server could not be reached, or refused.
    """
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise InvalidInputError("A fun fact needs a whole number", {"number": f"is {type(number).__name__}"})
    if not 0 <= number <= MAX_NUMBER:
        raise InvalidInputError("A fun fact needs another number", {"number": f"is not in 0 … {MAX_NUMBER}"})
    number = int(number)
    fact = facts_of(number)[0]
    inputs = {"number": str(number), "fact": fact.text}
    answer = ask("generate_fun_fact", inputs, [fact], subjects=[str(number)], model=model, run=run)
    return {"number": number, **answer.values, "fact": fact.text, **answer.provenance()}


def contradiction(answer: Mapping[str, Any], number: int, fact: Fact) -> str | None:
    """Say what a fun fact gets wrong, None if nothing."""
    return first_unsupported(str(answer["fun_fact"]), [fact], {str(number)})


def facts_of(number: int) -> list[Fact]:
    """Return true statements on a number, the most remarkable first; there is always one.

    Sums and products are written out, so that a check can redo them.
    """
    n = number
    factors = prime_factors(n) if n > 1 else []
    found: list[Fact] = []
    found += _perfect(n)
    found += _square_or_cube(n)
    found += _triangular(n)
    found += _fibonacci(n)
    if n > 1 and len(factors) == 1:
        found.append(
            Fact(
                f"{n} is a prime number: only 1 and {n} divide it.",
                (f"{n} is a prime number", f"{n} is prime because it is divisible by only 1 and {n}"),
            )
        )
    if n > 1 and set(factors) == {2}:
        found.append(_equation(n, f"{n} is a power of 2", "×", factors))
    text = str(n)
    if n > 10 and text == text[::-1]:
        found.append(
            Fact(
                f"{n} is a palindrome: it reads the same backwards.",
                (f"{n} is a palindrome",),
                frozenset({"palindromic", "forwards"}),
            )
        )
    if 1 < len(factors) <= MAX_TERMS_SHOWN:
        found.append(_equation(n, f"{n} is a product of prime numbers", "×", factors))
    if 1 <= n < 4000:
        found.append(Fact(f"{n} is written {roman(n)} in Roman numerals.", words=frozenset({"numeral"})))
    found.append(Fact(f"{n} is written {n:b} in binary.", words=frozenset({"code", "computer"})))
    return found


def prime_factors(number: int) -> list[int]:
    """Return the prime factors of a number above 1, smallest first, as often as they occur."""
    factors, rest, candidate = [], number, 2
    while candidate * candidate <= rest:
        while rest % candidate == 0:
            factors.append(candidate)
            rest //= candidate
        candidate += 1 if candidate == 2 else 2
    return [*factors, rest] if rest > 1 else factors


def roman(number: int) -> str:
    """Write a number of 1 … 3999 in Roman numerals."""
    text, rest = "", number
    for value, letters in ROMAN:
        text += letters * (rest // value)
        rest %= value
    return text


def _equation(n: int, headline: str, operator: str, terms: list[int]) -> Fact:
    """Return a statement with the sum or product that proves it."""
    shown = f" {operator} ".join(str(term) for term in terms)
    return Fact(
        f"{headline}: {shown} = {n}.",
        (headline, f"{shown} = {n}"),
        frozenset({"sum", "add", "plus"} if operator == "+" else {"times", "multiply", "product"}),
    )


def _perfect(n: int) -> list[Fact]:
    # The perfect numbers in range; a fifth one has 25 divisors, too long for a sentence.
    divisors = {6: [1, 2, 3], 28: [1, 2, 4, 7, 14]}.get(n)
    if divisors is None:
        return []
    listed = f"{', '.join(map(str, divisors[:-1]))} and {divisors[-1]}"
    return [
        Fact(
            f"{n} is a perfect number: its smaller divisors {listed} add up to {n}.",
            (f"{n} is a perfect number, its smaller divisors add up to {n}", f"its smaller divisors are {listed}"),
            frozenset({"sum", "all"}),
        )
    ]


def _square_or_cube(n: int) -> list[Fact]:
    found = []
    root = math.isqrt(n)
    if n > 3 and root * root == n:
        found.append(_equation(n, f"{n} is a square number", "×", [root, root]))
    cube_root = round(n ** (1 / 3))
    if n > 1 and cube_root**3 == n:
        found.insert(0, _equation(n, f"{n} is a cube number", "×", [cube_root] * 3))
    return found


def _triangular(n: int) -> list[Fact]:
    last = (math.isqrt(8 * n + 1) - 1) // 2
    if n < 3 or last * (last + 1) // 2 != n or last > MAX_TERMS_SHOWN:
        return []
    return [_equation(n, f"{n} is a triangular number", "+", list(range(1, last + 1)))]


def _fibonacci(n: int) -> list[Fact]:
    before, last = 1, 2
    while last < n:
        before, last = last, before + last
    if n < 5 or last != n:
        return []
    return [_equation(n, f"{n} is a Fibonacci number", "+", [n - before, before])]
