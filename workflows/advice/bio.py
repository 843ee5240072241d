"""Read what a bio says about its author: each attribute with the quote that it comes from.

A language model reads it, in any language. A value counts only if its quote stands in the bio and if it keeps the
rules of the passenger's contract. Where the model reads nothing, a small reader by rules finds age, sex and class in
plain English.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workflows.advice.framework import Value
from workflows.ai_blocks.answers import Answer, ask
from workflows.ai_blocks.checks import stands_in
from workflows.ai_blocks.client import LanguageModel
from workflows.ai_blocks.numbers import numbers_in
from workflows.ai_blocks.untrusted import as_data
from workflows.common.errors import InvalidInputError
from workflows.sql_python.passengers import COLUMNS, PORTS, Column, age_band, family_band, parse_value

MAX_BIO_CHARACTERS = 2000
EXAMPLE = '{"about_me": {"bio": "I am a 21-year-old student."}}'
# People on board with the author, the author included; the model counts siblings, spouse, parents and children.
FAMILY = Column("family", "family", "int", minimum=1, maximum=20)
ATTRIBUTES: Mapping[str, Column] = {
    column.name: column
    for column in (*COLUMNS, FAMILY)
    if column.name in {"sex", "age", "pclass", "embarked", "family"}
}
_PORT_CODES = {name.lower(): code for code, name in PORTS.items()}


@dataclass(frozen=True)
class Reading:
    """What was read in a bio.

    Attributes:
        attributes: Name: `value` and `quote`.
        traits: Further facts that may matter, each with `trait` and `quote`.
        ignored: Why values of the model do not count.
        read_by: "model", or "rules" where the model read no attribute.
        provenance: Of the model's answer, see `Answer.provenance`.
    """

    attributes: dict[str, dict[str, Any]]
    traits: list[dict[str, str]]
    ignored: list[str]
    read_by: Literal["model", "rules"]
    provenance: dict[str, Any]

    def known_values(self) -> dict[str, Value]:
        """Return the attributes by which a framework groups, ages and families as bands."""
        values = {name: found["value"] for name, found in self.attributes.items()}
        known: dict[str, Any] = {name: values[name] for name in ("sex", "pclass", "embarked") if name in values}
        if "age" in values:
            known["age_band"] = age_band(values["age"])
        if "family" in values:
            known["family"] = family_band(values["family"])
        return known


def check_about_me(about_me: object) -> str:
    """Return the bio of the variable `about_me: {bio: text}`.

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
    if not as_data(bio).strip():
        raise _invalid("about_me.bio", "is empty")
    return bio


def read_bio(bio: str, model: LanguageModel | None = None, pipeline_run_id: int | None = None) -> Reading:
    """Have a model read a bio, and keep what can be verified.

    Raises:
        ServiceError: the model's server could not be reached, or refused.
    """
    answer = ask("read_bio", {"about_me": {"bio": bio}}, model=model, pipeline_run_id=pipeline_run_id)
    attributes, ignored = _verified(answer, bio)
    traits = [trait for trait in answer.values["traits"] if stands_in(trait["quote"], bio)]
    read_by: Literal["model", "rules"] = "model" if attributes else "rules"
    return Reading(attributes or read_by_rules(bio), traits, ignored, read_by, answer.provenance())


def _verified(answer: Answer, bio: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the attributes that count, and why others do not."""
    found: dict[str, dict[str, Any]] = {}
    ignored: list[str] = []
    for entry in answer.values["attributes"]:
        name, quote = entry["attribute"], entry["quote"]
        text = _PORT_CODES.get(str(entry["value"]).strip().lower(), entry["value"])
        try:
            value = parse_value(ATTRIBUTES[name], text)
            numbers = [number.value for number in numbers_in(quote)]
            if value is None:
                raise ValueError("is empty")
            if not stands_in(quote, bio):
                raise ValueError(f"its quote {quote!r:.60} does not stand in the bio")
            if name == "age" and numbers and value not in numbers:
                raise ValueError(f"its quote {quote!r:.60} has another number")
            if name in found and found[name]["value"] != value:
                raise ValueError(f"is also {found[name]['value']!r}")
        except ValueError as error:
            ignored.append(f"{name} {entry['value']!r:.40}: {error}")
        else:
            found.setdefault(name, {"value": value, "quote": quote})
    return found, ignored


# "my sister", "a friend of mine": what follows is said of somebody else.
_OF_OTHERS = re.compile(
    r"\b(?:my|his|her|their|our|your)\s+(?:\w+\s+){0,2}$|\b(?:he|she|they)\b[^.]*$|\b(?:not|never|no longer)\b[^.,;]*$",
    re.I,
)
_AGE = re.compile(
    r"\b(\d{1,3})[\s-]*(?:years?[\s-]*old|y/?o\b|yrs?\b)|\b(?:I am|I'm|aged?:?)\s+(\d{1,3})\b(?!\s*(?:%|km))", re.I
)
_SEXES = {
    "female": re.compile(r"\b(?:female|woman|girl|lady|mother|wife|widow|daughter|she/her)\b", re.I),
    "male": re.compile(r"\b(?:male|man|boy|gentleman|guy|father|husband|widower|son|he/him)\b", re.I),
}
_CLASSES = {
    1: re.compile(r"\b(?:first|1st)[\s-]class\b", re.I),
    2: re.compile(r"\b(?:second|2nd)[\s-]class\b", re.I),
    3: re.compile(r"\b(?:third|3rd)[\s-]class\b|\bsteerage\b", re.I),
}


def read_by_rules(bio: str) -> dict[str, dict[str, Any]]:
    """Find age (years), sex and class where they are said in plain English, of the author, and in one way only."""
    found: dict[str, list[tuple[Any, str]]] = {"age": [], "sex": [], "pclass": []}
    for match in _AGE.finditer(bio):
        found["age"].append((float(match[1] or match[2]), match.group()))
    for name, patterns in (("sex", _SEXES), ("pclass", _CLASSES)):
        for value, pattern in patterns.items():
            found[name] += [
                (value, match.group()) for match in pattern.finditer(bio) if not _OF_OTHERS.search(bio[: match.start()])
            ]
    return {
        name: {"value": places[0][0], "quote": places[0][1]}
        for name, places in found.items()
        if len({value for value, _ in places}) == 1 and (name != "age" or places[0][0] <= ATTRIBUTES["age"].maximum)
    }


def _invalid(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"will_i_survive needs variables like {EXAMPLE}", {field: reason})
