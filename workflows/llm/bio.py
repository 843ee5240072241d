"""Read what a bio says about a passenger, by rules: each attribute with the text that it comes from.

A bio is data: it is searched, never followed. What it does not say, or says in two ways, stays unknown.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workflows.errors import InvalidInputError
from workflows.llm.framework import Value, age_band, family_band

MAX_BIO_CHARACTERS = 2000
MAX_AGE_YEARS = 120
EXAMPLE = '{"about_me": {"bio": "I am a 21-year-old student."}}'


@dataclass(frozen=True)
class Found:
    """An attribute that the bio states.

    Attributes:
        value: What it states.
        text: The words that state it.
        start: Where they begin in the cleaned bio, in characters.
        end: Where they end.
    """

    value: Any
    text: str
    start: int
    end: int


def read_about_me(about_me: object) -> str:
    """Return the cleaned bio of the variable `about_me: {bio: text}`.

    Raises:
        InvalidInputError: `.fields` says what is wrong with `about_me` or `about_me.bio`.
    """
    if about_me is None:
        raise _invalid("about_me", "is missing")
    if not isinstance(about_me, Mapping):
        raise _invalid("about_me", "is not an object")
    bio = about_me.get("bio")
    if bio is None:
        raise _invalid("about_me.bio", "is missing")
    if not isinstance(bio, str):
        raise _invalid("about_me.bio", "is not a string")
    if len(bio) > MAX_BIO_CHARACTERS:
        raise _invalid("about_me.bio", f"is longer than {MAX_BIO_CHARACTERS} characters")
    cleaned = clean(bio)
    if not cleaned:
        raise _invalid("about_me.bio", "is empty")
    return cleaned


def clean(bio: str) -> str:
    """Drop control and format characters, and make every run of white space one space."""
    kept = (" " if char.isspace() else char for char in bio if char.isspace() or unicodedata.category(char)[0] != "C")
    return " ".join("".join(kept).split())


def attributes_of(bio: str) -> dict[str, Found | None]:
    """Return `sex`, `age` (years), `pclass`, `family` (people on board, the author included) and `embarked`."""
    return {name: search(bio) for name, search in _SEARCHES.items()}


def known_values(attributes: Mapping[str, Found | None]) -> dict[str, Value]:
    """Return the attributes that a framework groups by, without the unknown ones."""
    age, family = attributes.get("age"), attributes.get("family")
    values: dict[str, Value | None] = {
        name: found.value if (found := attributes.get(name)) is not None else None
        for name in ("sex", "pclass", "embarked")
    }
    values["age_band"] = age_band(age.value) if age is not None else None
    values["family"] = family_band(family.value) if family is not None else None
    return {name: value for name, value in values.items() if value is not None}


_SOMEBODY_ELSE = r"(?:my|our|his|her|their|your|an?other|the)"
# Up to two words may stand between: "my little brother".
_OF_SOMEBODY_ELSE = re.compile(rf"\b{_SOMEBODY_ELSE}(?:\s+[\w-]+){{0,2}}\s+$", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:not|never|no|n't|without|instead of|wish|wanted|dream of)\b[^.!?,;]{0,25}$", re.IGNORECASE)
_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10,
}  # fmt: skip
_NUMBER = rf"(?:\d{{1,2}}|{'|'.join(_NUMBERS)})"

_MALE = re.compile(r"\b(?:male|man|boy|guy|gentleman|lad|mr)\b", re.IGNORECASE)
_FEMALE = re.compile(r"\b(?:female|woman|girl|lady|mrs|miss|ms)\b", re.IGNORECASE)
_MALE_ROLE = re.compile(r"\bI(?:'m|’m| am) (?:an? |the )?(?:\w+ )?(?:father|dad|husband|widower|son)\b", re.IGNORECASE)
_FEMALE_ROLE = re.compile(
    r"\bI(?:'m|’m| am) (?:an? |the )?(?:\w+ )?(?:mother|mom|mum|wife|widow|daughter)\b", re.IGNORECASE
)
_AGES = (
    re.compile(r"\b(?P<age>\d{1,3}(?:\.\d+)?)(?:\s+|-)years?(?:\s+|-)olds?\b", re.IGNORECASE),
    re.compile(r"\bI(?:'m|’m| am) (?P<age>\d{1,3})(?= *(?:[.,;!?)]|and\b|years?\b(?! of)|y/?o\b|$))", re.IGNORECASE),
    re.compile(r"\b(?:man|woman|boy|girl|gentleman|lady|male|female) of (?P<age>\d{1,3})\b", re.IGNORECASE),
    re.compile(r"\b(?:aged?|age is|age:)\s*(?P<age>\d{1,3})\b", re.IGNORECASE),
)
_CLASSES = {
    1: re.compile(r"\b(?:first|1st)[\s-]+class\b|\bclass (?:1|one|I)\b", re.IGNORECASE),
    2: re.compile(r"\b(?:second|2nd)[\s-]+class\b|\bclass (?:2|two|II)\b", re.IGNORECASE),
    3: re.compile(r"\b(?:third|3rd)[\s-]+class\b|\bclass (?:3|three|III)\b|\bsteerage\b", re.IGNORECASE),
}
_PORTS = {
    port: re.compile(rf"\b(?:from|at|in|boarded|embarked)\s+(?:at |in |from )?{name}\b", re.IGNORECASE)
    for port, name in (("S", "Southampton"), ("C", "Cherbourg"), ("Q", "Queenstown"))
}
_ALONE = re.compile(
    r"\b(?:travel(?:l?ing|l?ed)?|sail(?:ing|ed)?|go(?:ing)?|am|'m)\s+(?:all\s+)?(?:alone|by myself|on my own|solo)\b",
    re.IGNORECASE,
)
_WITH_FAMILY = re.compile(rf"\bwith (?:my|our|{_NUMBER}) [^.!?;]*", re.IGNORECASE)
_MEMBER = re.compile(
    rf"\b(?:(?P<number>{_NUMBER})\s+)?(?:\w+\s+)?(?P<member>wife|husband|spouse|brothers?|sisters?|siblings?|sons?|"
    r"daughters?|child|children|kids?|mother|father|mom|mum|dad|parents)\b",
    re.IGNORECASE,
)


def _first(bio: str, pattern: re.Pattern[str], value: Any) -> Found | None:
    """Return the first place where a pattern is said of the author and not denied."""
    for match in pattern.finditer(bio):
        before = bio[: match.start()]
        if not _OF_SOMEBODY_ELSE.search(before) and not _DENIED.search(before):
            return Found(value, match.group(), match.start(), match.end())
    return None


def _only(found: Iterable[Found | None]) -> Found | None:
    """Return the first finding, unless others differ in value."""
    present = [one for one in found if one is not None]
    return min(present, key=lambda one: one.start) if len({one.value for one in present}) == 1 else None


def _sex(bio: str) -> Found | None:
    return _only(
        _first(bio, pattern, value)
        for pattern, value in ((_MALE, "male"), (_FEMALE, "female"), (_MALE_ROLE, "male"), (_FEMALE_ROLE, "female"))
    )


def _age(bio: str) -> Found | None:
    found = []
    for pattern in _AGES:
        for match in pattern.finditer(bio):
            age = float(match["age"])
            if age <= MAX_AGE_YEARS and not _OF_SOMEBODY_ELSE.search(bio[: match.start()]):
                found.append(Found(age, match.group(), match.start(), match.end()))
    return _only(found)


def _pclass(bio: str) -> Found | None:
    return _only(_first(bio, pattern, value) for value, pattern in _CLASSES.items())


def _embarked(bio: str) -> Found | None:
    return _only(_first(bio, pattern, value) for value, pattern in _PORTS.items())


def _family(bio: str) -> Found | None:
    alone = _first(bio, _ALONE, 1)
    match = _WITH_FAMILY.search(bio)
    if match is None or _DENIED.search(bio[: match.start()]):
        return alone
    people = 1
    for member in _MEMBER.finditer(match.group()):
        number = member["number"]
        many = {"parents": 2}.get(member["member"].lower())
        if number is not None:
            many = int(number) if number.isdigit() else _NUMBERS[number.lower()]
        elif many is None and member["member"].lower() in {
            "brothers", "sisters", "siblings", "sons", "daughters", "children", "kids",
        }:  # fmt: skip
            # "with my children" does not say how many.
            return None
        people += many or 1
    together = Found(people, match.group().strip(), match.start(), match.end()) if people > 1 else None
    return _only([alone, together])


def _invalid(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"will_i_survive needs variables like {EXAMPLE}", {field: reason})


_SEARCHES: dict[str, Callable[[str], Found | None]] = {
    "sex": _sex,
    "age": _age,
    "pclass": _pclass,
    "family": _family,
    "embarked": _embarked,
}
