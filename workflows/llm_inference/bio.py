"""Read what a bio says about its author: each attribute with the quote that it comes from.

A language model reads it, in any language. A value counts only if its quote stands in the bio and if it keeps the
rules of the passenger's contract. Where the model reads nothing, or invents quotes, a small reader by rules finds age,
sex and class in plain English.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflows.ai_blocks.answers import Answer, ask
from workflows.ai_blocks.checks import folded, stands_in
from workflows.ai_blocks.client import LanguageModel
from workflows.ai_blocks.prompts import load_prompt
from workflows.ai_blocks.untrusted import as_data
from workflows.common.errors import InvalidInputError
from workflows.common.numbers import numbers_in
from workflows.llm_inference.framework import Value
from workflows.passengers.contract import COLUMNS, PORTS, Column, age_band, family_band, parse_value

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
        attributes: Name: `value`, `quote`, and who has read it: `read_by` is "model" or "rules".
        traits: Further facts that may matter, each with `trait` and `quote`.
        ignored: Why values of the model do not count.
        provenance: Of the model's answer, see `Answer.provenance`.
    """

    attributes: dict[str, dict[str, Any]]
    traits: list[dict[str, str]]
    ignored: list[str]
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
    prompt = load_prompt("read_bio")
    answer = ask(prompt, {"about_me": {"bio": bio}}, model=model, pipeline_run_id=pipeline_run_id)
    attributes, ignored = _verified(answer, bio)
    if not attributes or ignored:
        # A model that reads nothing, or invents quotes, has not read well; one that reads well leaves out on purpose.
        attributes = read_by_rules(bio) | attributes
    examples = [trait for example in prompt.examples for trait in example.answer["traits"]]
    traits, doubtful = _credible_traits(answer.values, bio, examples)
    return Reading(attributes, traits, [*ignored, *doubtful], answer.provenance())


def _credible_traits(
    values: Mapping[str, Any], bio: str, examples: Sequence[Mapping[str, str]]
) -> tuple[list[dict[str, str]], list[str]]:
    """Return the traits that count, and why others do not.

    A quote that is an attribute's, or that several traits have, says little for a trait, and so do the words of the
    prompt's example. Such a trait counts only if it shares a word with its quote.
    """
    told = {(folded(entry["trait"]), folded(entry["quote"])): entry for entry in values["traits"]}
    quotes = Counter([*(folded(entry["quote"]) for entry in values["attributes"]), *(quote for _, quote in told)])
    example_traits = {folded(example["trait"]) for example in examples}
    example_quotes = {folded(example["quote"]) for example in examples}
    traits: list[dict[str, str]] = []
    ignored: list[str] = []
    for (trait, quote), entry in told.items():
        is_example = trait in example_traits and quote not in example_quotes
        if not stands_in(quote, bio):
            problem = "does not stand in the bio"
        elif (is_example or quotes[quote] > 1) and not _stems(trait) & _stems(quote):
            problem = "is about something else"
        else:
            traits.append(entry)
            continue
        ignored.append(f"trait {entry['trait']!r:.60}: its quote {entry['quote']!r:.60} {problem}")
    return traits, ignored


def _stems(text: str) -> set[str]:
    """Return the beginnings of the words that say something: those of four letters and more."""
    return {word[:4] for word in re.findall(r"[^\W\d_]{4,}", text)}


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
            found.setdefault(name, {"value": value, "quote": quote, "read_by": "model"})
    return found, ignored


# What follows in the sentence is said of somebody else ("my sister", "with a husband"), denied, wished for or past.
_NOT_OF_AUTHOR = re.compile(
    r"\b(?:my|his|her|their|our|your|with|he|she|they|not|never|no longer|feel|dream|wish|want|hope|would|could|if|once"
    r"|used to|was|were)\b[^.!?;]*$",
    re.IGNORECASE,
)
_AGE = re.compile(
    r"\b(\d{1,3})[\s-]*(?:years?[\s-]*old|y/?o\b|yrs?\b)"
    r"|\b(?:I am|I'm|aged?:?)\s+(\d{1,3})\b(?!['’%]|\s*(?:%|km|kg|cm))",
    re.IGNORECASE,
)
_SEXES = {
    "female": re.compile(r"\b(?:female|woman|girl|lady|mother|wife|widow|daughter|she/her)\b", re.IGNORECASE),
    "male": re.compile(r"\b(?:male|man|boy|gentleman|guy|father|husband|widower|son|he/him)\b", re.IGNORECASE),
}
_CLASSES = {
    1: re.compile(r"\b(?:first|1st)[\s-]class\b", re.IGNORECASE),
    2: re.compile(r"\b(?:second|2nd)[\s-]class\b", re.IGNORECASE),
    3: re.compile(r"\b(?:third|3rd)[\s-]class\b|\bsteerage\b", re.IGNORECASE),
}


def read_by_rules(bio: str) -> dict[str, dict[str, Any]]:
    """Find age (years), sex and class where they are said in plain English, of the author, and in one way only."""
    patterns = [
        ("age", None, _AGE),
        *(("sex", *one) for one in _SEXES.items()),
        *(("pclass", *one) for one in _CLASSES.items()),
    ]
    found: dict[str, list[tuple[Any, str]]] = {}
    for name, value, pattern in patterns:
        for match in pattern.finditer(bio):
            if not _NOT_OF_AUTHOR.search(bio[: match.start()]):
                read = value if value is not None else float(match[1] or match[2])
                found.setdefault(name, []).append((read, match.group()))
    return {
        name: {"value": places[0][0], "quote": places[0][1], "read_by": "rules"}
        for name, places in found.items()
        if len({value for value, _ in places}) == 1 and (name != "age" or places[0][0] <= ATTRIBUTES["age"].maximum)
    }


def _invalid(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"will_i_survive needs variables like {EXAMPLE}", {field: reason})
