"""Whether somebody would have survived: the newest framework's rates for what the bio says, worded by a model."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from workflows.advice.bio import Found, attributes_of, known_values, read_about_me
from workflows.advice.framework import Group, group_pattern, newest_framework, rate_fact
from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.client import LanguageModel
from workflows.ai_blocks.grounding import Fact
from workflows.ai_blocks.phrases import likelihood, listed, percent, percent_pattern, size_of_chance
from workflows.common.settings import get_settings
from workflows.sql_python.passengers import ADULT_FROM_YEARS, CLASSES, PORTS, age_band


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
    answer = ask("will_i_survive", {"verdict": verdict_of(group)}, facts, model=model, run=run)
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
    """Return what an answer may say: the verdict first, then what the bio says, then the group's rate.

    Reasons for the verdict are the rate, and all attributes of the group together.
    """
    about, deciding = _about(attributes), _deciding(attributes, group)
    who, share = group_pattern(group), percent_pattern(group.rate)
    of_whom = f"of whom {share} survived|{share} of whom survived"
    person = f"[(as|being|at) {deciding} [,]]" if deciding else ""
    belonging = (
        f"{person} you (belong to|fall into|are in|are part of) [the|a] [group of] {who} [[,] ({of_whom})]",
        f"(this|that) is based on {who} [, ({of_whom})]",
        f"{person} you (belong to|fall into|are in|are part of) a group (where|in which) {share} of {who} survived",
        f"(this|that|which) is the [survival] rate (of|for|among) {who}",
        f"your chance of survival is {share} , the [survival] rate (of|for|among) {who}",
        f"your chance of survival is [that of|the same as for|the same as that of|equal to that of] {who} , {share}",
    )
    rate = rate_fact(group)
    rate = replace(
        rate,
        also=(*rate.also, *belonging),
        partly=(f"you (are|were) {deciding}",) if deciding else (),
        # Behind anything else, "this" would be another reason.
        anaphoric=(
            *rate.anaphoric,
            f"(this|that|which) (gives|gave) you [only] a {share} (chance of survival|survival chance)",
        ),
        subject=deciding,
        is_reason=True,
    )
    return [_verdict(group, person), *([about] if about else []), rate]


def _verdict(group: Group, person: str) -> Fact:
    """Return the verdict; `person` is the pattern of what may stand before it ("as a man of 30, you would …")."""
    survives = verdict_of(group) == "yes"
    rate, size = percent_pattern(group.rate), size_of_chance(group.rate)
    adverb = likelihood(group.rate if survives else 1 - group.rate)
    noun = "(chance|chances|odds|probability|likelihood)"
    # Behind a "no", "a chance of 30 %" would be that of death.
    nouns = f"survival {noun}|{noun} of (survival|surviving){f'|{noun}' if survives else ''}"
    chance = f"[{size}] [estimated|predicted|overall] ({nouns})"
    of_rate = f"([a|an|your|only a|just a] {rate} {chance}|[a|an|your] {chance} of {rate})"
    chances = (
        f"your {chance} (is|are|was|were|would be|would have been|stands at|being|at) {rate}",
        f"your {chance} (is|was|would be) a [{size}] {rate}",
        f"you [would] (have|had|have had) {of_rate}",
        f"(with|given|at) {of_rate}",
    )
    if survives:
        said = [f"you would [{adverb}] ({_SURVIVE})", f"you [{adverb}] (survive|make it)"]
        said += [f"you are ({adverb}) to survive"] if adverb else []
        opening = "[yes ,] ((good|great) news|fortunately|luckily|congratulations)|[the verdict is] yes"
    else:
        unlikely = f"{'(very|most|quite) unlikely|' if group.rate <= 0.15 else ''}unlikely|not likely"
        said = [
            f"you would [{adverb}] not ({_SURVIVE})",
            f"you would not [{adverb}] ({_SURVIVE})",
            f"you [{adverb}] would not ({_SURVIVE})",
            f"you [{adverb}] would [{adverb}] (die|have died|perish|have perished)",
        ]
        said += [f"you (are|would be) ({unlikely}) to (survive|have survived)"] if adverb else []
        opening = "[no ,] (unfortunately|sadly|regrettably|i am afraid [that]|bad news)|[the verdict is] no"
    also = f"[[,] (with|given|at) {of_rate}{f'|[,] at {rate}' if survives else ''}]"
    return Fact(
        f"You would {'' if survives else 'not '}survive: your chance of survival is {percent(group.rate)}.",
        tuple(f"{person} {one} [the (sinking|disaster)] {also}" for one in said),
        partly=tuple(f"{person} {one}" for one in chances),
        opening=(opening,),
        is_required=True,
    )


_SURVIVE = "survive|have survived|make it|have made it|live|have lived|be among the survivors"


_NOUNS = "passenger|traveller|person"


def _about(attributes: Mapping[str, Found | None]) -> Fact | None:
    """Return all that the bio says; it is no reason, for the group may not have been chosen by all of it."""
    values = {name: found.value for name, found in attributes.items() if found is not None}
    said = []
    if "sex" in values:
        said.append(str(values["sex"]))
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
    ways = list(_patterns(values).values())
    if both := _sex_and_age(values):
        ways.append(both)
    person = f"{{?{' ; '.join(ways)}}}"
    return Fact(f"You are {listed(said)}.", (f"you (are|were) {person}",), subject=person)


def _deciding(attributes: Mapping[str, Found | None], group: Group) -> str:
    """Return the pattern of all attributes of the group, in the words for you; empty where there are none."""
    known = known_values(attributes)
    if not group.attributes or any(known.get(name) != value for name, value in group.attributes.items()):
        return ""
    values = {name: found.value for name, found in attributes.items() if found is not None}
    names = ["age" if name == "age_band" else name for name in group.attributes]
    ways = {name: pattern for name, pattern in _patterns(values).items() if name in names}
    if not {"sex", "age"} <= set(names):
        return f"{{+{' ; '.join(ways.values())}}}"
    both = _sex_and_age(values)
    others = [pattern for name, pattern in ways.items() if name not in {"sex", "age"}]
    apart = [f"{ways['sex']}|{both}", ways["age"], *others]
    return f"({{+{' ; '.join(apart)}}}|{{+{' ; '.join([both, *others])}}})"


def _patterns(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the pattern of the ways to say each attribute of you, behind "you are"."""
    found: dict[str, str] = {}
    if "sex" in values:
        found["sex"] = f"{values['sex']}|a {values['sex']} [{_NOUNS}]"
    if "age" in values:
        years = f"{values['age']:g}"
        found["age"] = f"[aged] {years} [years old|years of age]|(a|an) {years} year old [{_NOUNS}]"
        if age_band(values["age"]) in _AGE_NOUNS:
            found["age"] += f"|{_AGE_NOUNS[str(age_band(values['age']))]}"
    if "pclass" in values:
        ticket = f"{CLASSES[values['pclass']]} class"
        found["pclass"] = f"[travelling|a passenger|who travels] in {ticket}|travelling {ticket}|a {ticket} ({_NOUNS})"
    if values.get("family") == 1:
        found["family"] = "[travelling] (alone|on your own|by yourself)"
    elif "family" in values:
        found["family"] = f"[travelling] (part of|in|with|as part of) a family of {values['family']}"
    if "embarked" in values:
        found["embarked"] = f"(from|boarding at|who boarded at|who embarked at) {PORTS[values['embarked']].lower()}"
    return found


def _sex_and_age(values: Mapping[str, Any]) -> str:
    """Return the pattern of the ways to say sex and age (or its band) in one, empty where one is unknown."""
    if not {"sex", "age"} <= set(values):
        return ""
    sex, age = values["sex"], values["age"]
    ways = [f"(a|an) {age:g} year old {sex} [{_NOUNS}]"]
    if age >= ADULT_FROM_YEARS:
        ways.append(f"(a|an) {age:g} year old {_ADULTS[sex]}")
    if age_band(age) == "adult":
        ways += [f"an adult {sex} [{_NOUNS}]", f"a {_ADULTS[sex]}"]
    return "|".join(ways)


_AGE_NOUNS = {"adult": "an adult", "teenage": "a teenager", "child": "a child"}
_ADULTS = {"female": "woman", "male": "man"}
