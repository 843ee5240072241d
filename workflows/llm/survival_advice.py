"""Whether somebody would have survived: the newest framework's rates for what the bio says, worded by a model."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workflows.llm.answers import ask
from workflows.llm.bio import Found, attributes_of, known_values, read_about_me
from workflows.llm.client import LanguageModel
from workflows.llm.framework import Group, newest_framework, rate_fact
from workflows.llm.grounding import Fact, first_unsupported, read
from workflows.llm.wording import CLASSES, PORTS, listed, percent
from workflows.settings import get_settings


def will_i_survive(
    about_me: object, folder: Path | None = None, model: LanguageModel | None = None, run: object = None
) -> dict[str, Any]:
    """Answer whether the author of a bio would have survived.

    The likelihood is the survival rate of the framework's group that shares most of the attributes read from the
    bio (`Framework.group_for`); from 50 % on the answer is yes. The bio itself is never shown to the model.

    Args:
        about_me: `{"bio": text}`, at most 2,000 characters.
        folder: Of the frameworks; by default the one of the settings.
        model: Whom to ask; by default the configured one.
        run: Id of the pipeline run, to which the tokens are booked.

    Returns:
        `survives`, `probability`, `answer` (text); `attributes`, each with value and where it stood in the
        bio, None where unknown; `group`, the one that decided, with its attributes and counts; `framework_version`; and
        where the text comes from, see `Answer.provenance`.

    Raises:
        InvalidInputError: `.fields` names `about_me` or `about_me.bio`.
        NotReadyError: there is no framework yet.
        ServiceError: the model's server could not be reached, or refused.
    """
    bio = read_about_me(about_me)
    framework = newest_framework(folder or get_settings().frameworks_dir)
    attributes = attributes_of(bio)
    group = framework.group_for(known_values(attributes))
    facts = facts_of(attributes, group)

    answer = ask("will_i_survive", {"verdict": verdict_of(group)}, facts, check=omission, model=model, run=run)
    return {
        "survives": verdict_of(group) == "yes",
        "probability": round(group.rate, 4),
        "answer": answer.values["answer"],
        "attributes": {name: asdict(found) if found is not None else None for name, found in attributes.items()},
        "group": {**group.attributes, "count": group.count, "survived": group.survived},
        "framework_version": framework.version,
        **answer.provenance(),
    }


def verdict_of(group: Group) -> str:
    """Say "yes" where at least half of the group survived, else "no"."""
    return "yes" if group.rate >= 0.5 else "no"


def facts_of(attributes: Mapping[str, Found | None], group: Group) -> list[Fact]:
    """Return what an answer may say: the verdict first, then what the bio says, then the group's rate."""
    chance = percent(group.rate)
    likely = f"your chance of survival is {chance}."
    if verdict_of(group) == "yes":
        verdict = Fact(
            f"You would survive: {likely}",
            ("You would have survived.", f"With a chance of survival of {chance}, you survive.", likely),
        )
    else:
        verdict = Fact(
            f"You would not survive: {likely}",
            ("You would not survive.", "You would not have survived.", "You would die.", likely),
        )
    about = _about(attributes)
    return [verdict, *([about] if about else []), rate_fact(group)]


def contradiction(answer: Mapping[str, Any], facts: list[Fact]) -> str | None:
    """Say what an answer gets wrong or leaves out, None if nothing."""
    return first_unsupported(str(answer["answer"]), facts) or omission(answer)


def omission(answer: Mapping[str, Any]) -> str | None:
    """Say what an answer leaves out, None if nothing: the verdict."""
    if not read("You survive, you die").words & read(str(answer["answer"])).words:
        return "the verdict is left out"
    return None


def _about(attributes: Mapping[str, Found | None]) -> Fact | None:
    values = {name: found.value for name, found in attributes.items() if found is not None}
    said = []
    if "sex" in values:
        said.append(f"{values['sex']}")
    if "age" in values:
        said.append(f"{values['age']:g} years old")
    if "pclass" in values:
        said.append(f"in {CLASSES[values['pclass']]} class")
    if "family" in values:
        said.append("travelling alone" if values["family"] == 1 else f"in a family of {values['family']}")
    if "embarked" in values:
        said.append(f"from {PORTS[values['embarked']]}")
    if not said:
        return None
    return Fact(f"You are {listed(said)}.", tuple(f"You are {one}." for one in said), frozenset({"traveller", "aged"}))
