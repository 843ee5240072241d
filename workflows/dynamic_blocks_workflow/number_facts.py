"""Arithmetic of whole numbers: true statements about a number, and what is wrong with statements of others."""

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby

MAX_TERMS_SHOWN = 5
_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"),
    (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip


def prime_factors(number: int) -> list[int]:
    """Return the prime factors of a number above 1, smallest first, as often as they occur; [] below 2."""
    factors, rest, candidate = [], number, 2
    while candidate * candidate <= rest:
        while rest % candidate == 0:
            factors.append(candidate)
            rest //= candidate
        candidate += 1 if candidate == 2 else 2
    return [*factors, rest] if rest > 1 else factors


def roman(number: int) -> str:
    """Write a number from 1 to 3999 in Roman numerals."""
    text, rest = "", number
    for value, letters in _ROMAN:
        text += letters * (rest // value)
        rest %= value
    return text


def divisor_sum(number: int) -> int:
    """Return the sum of the divisors that are smaller than the number."""
    powers = ((prime, len(list(group))) for prime, group in groupby(prime_factors(number)))
    return math.prod((prime ** (power + 1) - 1) // (prime - 1) for prime, power in powers) - number


def _is_cube(number: int) -> bool:
    return round(number ** (1 / 3)) ** 3 == number


def _is_fibonacci(number: int) -> bool:
    return any(math.isqrt(one) ** 2 == one for one in (5 * number**2 + 4, 5 * number**2 - 4) if one >= 0)


PROPERTIES: Mapping[str, Callable[[int], bool]] = {
    "prime": lambda n: len(prime_factors(n)) == 1,
    "composite": lambda n: len(prime_factors(n)) > 1,
    "even": lambda n: n % 2 == 0,
    "odd": lambda n: n % 2 == 1,
    "square": lambda n: math.isqrt(n) ** 2 == n,
    "cube": _is_cube,
    "triangular": lambda n: math.isqrt(8 * n + 1) ** 2 == 8 * n + 1,
    "fibonacci": _is_fibonacci,
    "perfect": lambda n: n > 1 and divisor_sum(n) == n,
    "palindrome": lambda n: str(n) == str(n)[::-1],
    "power_of_two": lambda n: n > 0 and n & (n - 1) == 0,
}
# Claims with a value, and the value that is true.
WRITTEN: Mapping[str, Callable[[int], str]] = {
    "roman": lambda n: roman(n) if 1 <= n < 4000 else "",
    "binary": lambda n: f"{n:b}",
}
CLAIMS = (*PROPERTIES, *WRITTEN, "divisible_by", "equation")

# Compiled here, they are not compiled in each process that tells a fact.
_pattern = partial(re.compile, flags=re.IGNORECASE)
# How a text asserts each property of its number.
_ASSERTED: Mapping[str, re.Pattern[str]] = {
    "prime": _pattern(r"\bprime\b(?! (?:numbers|factors?)\b)"),
    "composite": _pattern(r"\bcomposite\b"),
    "even": _pattern(r"\bis (?:an )?even\b"),
    "odd": _pattern(r"\bis (?:an )?odd\b"),
    "square": _pattern(r"\b(?:perfect square|square number|is a square)\b"),
    "cube": _pattern(r"\b(?:perfect cube|cube number|is a cube)\b"),
    "triangular": _pattern(r"\btriangular\b"),
    "fibonacci": _pattern(r"\bfibonacci number\b"),
    "perfect": _pattern(r"\bperfect number\b"),
    "palindrome": _pattern(r"\bpalindrom"),
    "power_of_two": _pattern(r"\bpower of (?:2|two)\b"),
}
_NEGATED = _pattern(r"(?:\bnot|n't|\bnever)\b[^.!?]{0,20}$")
_ROMAN_NUMERAL = re.compile(r"\b[MDCLXVI]{2,}\b")
_THOUSANDS_SEPARATOR = re.compile(r"(?<=\d),(?=\d{3}\b)")
_OPERATORS = [
    (_pattern(rf"(?<=\d)\s*(?:{words})\s*(?=\d)"), f" {symbol} ")
    for words, symbol in (("plus", "+"), ("times|multiplied by|[x*·]", "×"), ("equals|makes|gives", "="))
]
_EQUATION = re.compile(r"\d+(?:\s*[+×]\s*\d+)+\s*=\s*\d+")


def facts_of(number: int) -> list[str]:
    """Return true statements about a number, the most remarkable first; there is always one.

    Sums and products are written out, so that a reader can check them.
    """
    n, factors, found = number, prime_factors(number), []
    if n > 1 and PROPERTIES["perfect"](n) and n < 100:
        divisors = [d for d in range(1, n) if n % d == 0]
        listed = f"{', '.join(map(str, divisors[:-1]))} and {divisors[-1]}"
        found.append(f"{n} is a perfect number: its smaller divisors {listed} add up to {n}.")
    if n > 1 and PROPERTIES["cube"](n):
        found.append(f"{n} is a cube number: {_joined('×', [round(n ** (1 / 3))] * 3)} = {n}.")
    if n > 3 and PROPERTIES["square"](n):
        found.append(f"{n} is a square number: {_joined('×', [math.isqrt(n)] * 2)} = {n}.")
    last = (math.isqrt(8 * n + 1) - 1) // 2
    if n > 2 and PROPERTIES["triangular"](n) and last <= MAX_TERMS_SHOWN:
        found.append(f"{n} is a triangular number: {_joined('+', list(range(1, last + 1)))} = {n}.")
    if n > 4 and PROPERTIES["fibonacci"](n):
        before = round(n / ((1 + math.sqrt(5)) / 2))
        found.append(f"{n} is a Fibonacci number: {n - before} + {before} = {n}.")
    if len(factors) == 1:
        found.append(f"{n} is a prime number: it has exactly 2 divisors, 1 and {n}.")
    if n > 1 and set(factors) == {2}:
        found.append(f"{n} is a power of 2: {_joined('×', factors)} = {n}.")
    if n > 10 and PROPERTIES["palindrome"](n):
        found.append(f"{n} is a palindrome: it reads the same backwards.")
    if 1 < len(factors) <= MAX_TERMS_SHOWN:
        found.append(f"{n} is a product of prime numbers: {_joined('×', factors)} = {n}.")
    if numeral := WRITTEN["roman"](n):
        found.append(f"{n} is written {numeral} in Roman numerals.")
    return [*found, f"{n} is written {n:b} in binary."]


def claim_problem(number: int, claim: str, value: str) -> str | None:
    """Say what is wrong with a claim about a number, None if it is true.

    Args:
        number: Number that the claim is about.
        claim: One of `CLAIMS`.
        value: Of a property nothing or anything; else the numeral, the divisor, or the equation.
    """
    if claim in PROPERTIES:
        return None if PROPERTIES[claim](number) else f"{number} is not {claim.replace('_', ' ')}"
    if claim in WRITTEN:
        return None if value.strip() == WRITTEN[claim](number) else f"{number} is not {value!r:.30} in {claim}"
    if claim == "divisible_by":
        is_true = value.strip().isdecimal() and int(value) > 0 and number % int(value) == 0
        return None if is_true else f"{number} is not divisible by {value!r:.30}"
    return equation_problem(value) or (None if _EQUATION.search(_symbols(value)) else f"{value!r:.40} is no equation")


def text_problem(number: int, text: str) -> str | None:
    """Say what a text gets wrong of what arithmetic can check: properties, equations and Roman numerals."""
    for claim, pattern in _ASSERTED.items():
        for match in pattern.finditer(text):
            is_asserted = _NEGATED.search(text[: match.start()]) is None
            if PROPERTIES[claim](number) is not is_asserted:
                return f"{number} is {'not ' if is_asserted else ''}{claim.replace('_', ' ')}"
    wrong = [one for one in _ROMAN_NUMERAL.findall(text) if one != WRITTEN["roman"](number)]
    return f"{number} is not {wrong[0]} in Roman numerals" if wrong else equation_problem(text)


def equation_problem(text: str) -> str | None:
    """Say which sum or product in a text is wrong, None if all are right."""
    for match in _EQUATION.finditer(_symbols(text)):
        left, right = match.group().split("=")
        terms = [math.prod(int(factor) for factor in term.split("×")) for term in left.split("+")]
        if sum(terms) != int(right):
            return f"{match.group()} is wrong"
    return None


def _symbols(text: str) -> str:
    """Return a text with operators as symbols, and numbers without thousands separators."""
    text = _THOUSANDS_SEPARATOR.sub("", text)
    for words, symbol in _OPERATORS:
        text = words.sub(symbol, text)
    return text


def _joined(operator: str, terms: list[int]) -> str:
    return f" {operator} ".join(map(str, terms))
