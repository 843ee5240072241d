"""A fun fact about a number: computed and true, worded by a model."""

import math
from dataclasses import replace
from numbers import Integral
from typing import Any

from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.client import LanguageModel
from workflows.ai_blocks.grounding import Fact, literal
from workflows.common.errors import InvalidInputError

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
        found.append(_prime(n))
    if n > 1 and set(factors) == {2}:
        found.append(_equation(n, f"{n} is a power of 2", "×", factors))
    text = str(n)
    if n > 10 and text == text[::-1]:
        found.append(_palindrome(n))
    if 1 < len(factors) <= MAX_TERMS_SHOWN:
        found.append(_product_of_primes(n, factors))
    if 1 <= n < 4000:
        found.append(_written(n, roman(n), "in Roman numerals", ("in roman [numerals|numeral]", "as a roman numeral")))
    found.append(
        _written(n, f"{n:b}", "in binary", ("in binary [code|form]", "in computer code", "as a binary number"))
    )
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


_CHEERFUL = "cheerful|neat|cool|lovely|nice|wonderful|special|fascinating|cute|charming|proud"


def _number(n: int) -> str:
    """Return the pattern of the ways to name the number."""
    return f"([the] [{_CHEERFUL}] [little] [number] {n})"


def _prime(n: int) -> Fact:
    it = f"(it|{_number(n)})"
    both = f"((1|one) and ({n}|itself))"
    divided = "(be divided [evenly|exactly] by|be evenly divided by)"
    proofs = (
        f"only {both} divide {it} [evenly|exactly]",
        f"{it} (can only {divided}|can be [evenly] divided only by) {both}",
        f"{it} is ([evenly] divisible only by|only [evenly] divisible by|divisible by only) {both}",
        f"{it} has [exactly] 2 divisors , {both}",
        f"{it} has only 2 divisors , {both}",
        f"(its|the) only (divisors|factors) [of {it}] are {both}",
        f"the only numbers that [can] [evenly] divide {it} [evenly] are {both}",
        f"(nothing|no number) (but|except|other than) {both} (divides|can divide) {it} [evenly]",
    )
    headlines = (f"{it} is [a] [{_CHEERFUL}] prime [number]",)
    return Fact(f"{n} is a prime number: only 1 and {n} divide it.", (*headlines, *_joined(headlines, proofs)))


def _palindrome(n: int) -> Fact:
    it = f"(it|{_number(n)})"
    headlines = (f"{it} is (a [{_CHEERFUL}] palindrome|[a] palindromic [number])",)
    back, forth = "(backwards|backward)", "(forwards|forward)"
    same = f"the same ({back}|{forth} and {back}|{back} and {forth})"
    proofs = (f"{it} reads {same}", f"read it {back} and it is still {n}")
    return Fact(f"{n} is a palindrome: it reads the same backwards.", (*headlines, *_joined(headlines, proofs)))


def _written(n: int, letters: str, where: str, ways: tuple[str, ...]) -> Fact:
    """Return how a number is written in another system."""
    there, shown = f"({'|'.join(ways)})", f'["] {literal(letters)} ["]'
    written = "(is [simply|just] (written [simply|just|out] [as]|expressed as|spelled|)|becomes|is [simply|just])"
    return Fact(
        f"{n} is written {letters} {where}.",
        (
            f"{_number(n)} {written} {shown} {there}",
            f"{there} [,] {_number(n)} {written} {shown}",
            f"{_number(n)} {there} {written} {shown}",
            f"(you|we) [would] [simply] write {_number(n)} as {shown} {there}",
            f"{there} [,] (you|we) [would] [simply] write {_number(n)} as {shown}",
            f"{shown} is [how (you|we) write] {_number(n)} {there}",
        ),
    )


_BECAUSE = "because|since|as|so|which means [that]|meaning [that]|that is because|this is because|after all"


def _joined(headlines: tuple[str, ...], proofs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the proofs, and each headline with a proof as its reason."""
    return (*proofs, f"({'|'.join(headlines)}) [,] [{_BECAUSE}] ({'|'.join(proofs)})")


def _equation(n: int, headline: str, operator: str, terms: list[int], names: str = "") -> Fact:
    """Return a statement with the sum or product that proves it.

    Args:
        n: The number.
        headline: What it is.
        operator: "+" or "×".
        terms: What makes the number.
        names: Pattern of other ways to say the headline, without its subject and verb.
    """
    it = f"(it|{_number(n)})"
    shown = f" {operator} ".join(str(term) for term in terms)
    what = literal(headline.removeprefix(f"{n} is a "))
    headlines = (f"{it} is a [{_CHEERFUL}] [little] {what}", *([f"{it} is ({names})"] if names else []))
    return Fact(f"{headline}: {shown} = {n}.", (*headlines, *_joined(headlines, _calculations(n, operator, terms))))


def _calculations(n: int, operator: str, terms: list[int]) -> tuple[str, ...]:
    """Return the patterns of a sum or product whose result is the number."""
    words = "(+|plus)" if operator == "+" else "(×|times|multiplied by)"
    written = f" {words} ".join(str(term) for term in terms)
    listed = " [,] ".join([*(str(term) for term in terms[:-1]), f"[and] {terms[-1]}"])
    equals = (
        "(=|equals|is|makes|gives|make|is equal to|adds up to)"
        if operator == "+"
        else "(=|equals|is|makes|gives|is equal to)"
    )
    get = f"[,] [and] (you|you will|to) [just] (get|reach|have) [exactly] {n}"
    order = (
        [f"[just|simply] (add|sum) [up] ({listed}|{written}) [together|up] {get}"]
        if operator == "+"
        else [f"[just|simply] multiply ({listed}|{written}) [together] {get}"]
    )
    if operator == "×" and len(terms) == 2:
        order += [f"[just|simply] multiply {terms[0]} by ({terms[1]}|itself) {get}"] if terms[0] == terms[1] else []
        order += [f"[just|simply] multiply {terms[0]} by {terms[1]} {get}"]
    order += [
        f"{_number(n)} is what you get when you {one}"
        for one in (f"{'add' if operator == '+' else 'multiply'} ({listed}|{written}) [together]",)
    ]
    return (f"{written} {equals} {n}", f"{n} (=|equals|is) {written}", *order)


def _product_of_primes(n: int, factors: list[int]) -> Fact:
    primes = " [,] ".join([*(str(factor) for factor in factors[:-1]), f"[and] {factors[-1]}"])
    fact = _equation(
        n, f"{n} is a product of prime numbers", "×", factors, "[the|a] product of [the] (prime numbers|primes)"
    )
    get = f"[,] [and] (you|you will|to) (get|reach|have) [exactly] {n}"
    it = f"(it|{_number(n)})"
    return replace(
        fact,
        also=(
            *fact.also,
            f"[just] multiply [the] (prime numbers|primes) {primes} [together] {get}",
            f"{it} is the product of [the] (prime numbers|primes) {primes}",
            f"{it} can be (written|built|made) (as a product of|from) [the] (prime numbers|primes) [{primes}]",
            f"you can (make|build) {it} from [the] (prime numbers|primes) [, {' × '.join(map(str, factors))} = {n}]",
        ),
    )


def _perfect(n: int) -> list[Fact]:
    # The perfect numbers in range; a fifth one has 25 divisors, too long for a sentence.
    divisors = {6: [1, 2, 3], 28: [1, 2, 4, 7, 14]}.get(n)
    if divisors is None:
        return []
    listed = f"{', '.join(map(str, divisors[:-1]))} and {divisors[-1]}"
    shown = " [,] ".join([*(str(divisor) for divisor in divisors[:-1]), f"[and] {divisors[-1]}"])
    total = " + ".join(map(str, divisors))
    it, headlines = f"(it|{_number(n)})", (f"(it|{_number(n)}) is a [{_CHEERFUL}] perfect number",)
    smaller = "(its|the|all [of] its) (smaller|proper) divisors [,]"
    proofs = (
        f"{smaller} {shown} [,] [all] (add up|sum|sum up) to [exactly] {it}",
        f"{smaller} (add up|sum|sum up) to [exactly] {it}",
        f"{smaller} are {shown}",
        f"[{smaller}] {total} = {n}",
        f"(add|add up|sum|sum up) {smaller} {shown} [together] [,] [and] you get [exactly] {n}",
    )
    return [
        Fact(
            f"{n} is a perfect number: its smaller divisors {listed} add up to {n}.",
            (*headlines, *_joined(headlines, proofs)),
        )
    ]


def _square_or_cube(n: int) -> list[Fact]:
    found = []
    root = math.isqrt(n)
    if n > 3 and root * root == n:
        found.append(
            _equation(
                n,
                f"{n} is a square number",
                "×",
                [root, root],
                f"[a] (perfect square|square)|the square of {root}|{root} squared",
            )
        )
    cube_root = round(n ** (1 / 3))
    if n > 1 and cube_root**3 == n:
        found.insert(
            0,
            _equation(
                n,
                f"{n} is a cube number",
                "×",
                [cube_root] * 3,
                f"[a] (perfect cube|cube)|the cube of {cube_root}|{cube_root} cubed",
            ),
        )
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
