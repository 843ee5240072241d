"""Whether somebody would have survived: the newest framework's rates for what the bio says, worded by a model."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from workflows.llm.answers import ask
from workflows.llm.bio import Found, attributes_of, known_values, read_about_me
from workflows.llm.client import LanguageModel
from workflows.llm.framework import ADULT_FROM_YEARS, Group, age_band, group_pattern, newest_framework, rate_fact
from workflows.llm.grounding import Fact
from workflows.llm.wording import CLASSES, PORTS, likelihood, listed, percent, percent_pattern, size_of_chance
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
    """Return what an answer may say: the verdict first, then what the bio says, then the group's rate."""
    about = _about(attributes)
    rate = rate_fact(group)
    who, share = group_pattern(group), percent_pattern(group.rate)
    of_whom = f"of whom {share} survived|{share} of whom survived"
    belonging = (
        f"you (belong to|fall into|are in|are part of) [the|a] [group of] {who} [[,] ({of_whom})]",
        f"(this|that) is based on {who} [, ({of_whom})]",
        f"you (belong to|fall into|are in|are part of) a group (where|in which) {share} of {who} survived",
        f"(this|that|which) is the [survival] rate (of|for|among) {who}",
        f"(this|that|which) (gives|gave) you [only] a {share} (chance of survival|survival chance)",
        f"your chance of survival is {share} , the [survival] rate (of|for|among) {who}",
        f"your chance of survival is [that of|the same as for|the same as that of|equal to that of] {who} , {share}",
    )
    return [
        _verdict(group, about),
        *([about] if about else []),
        replace(rate, also=(*rate.also, *belonging), is_reason=True),
    ]


def _verdict(group: Group, about: Fact | None) -> Fact:
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
    # "As a man of 30, you would …"
    person = f"[(as|being|at) {about.subject} [,]]" if about else ""
    also = f"[[,] (with|given|at) {of_rate}{f'|[,] at {rate}' if survives else ''}]"
    return Fact(
        f"You would {'' if survives else 'not '}survive: your chance of survival is {percent(group.rate)}.",
        tuple(f"{person} {one} [the (sinking|disaster)] {also}" for one in said),
        partly=tuple(f"{person} {one}" for one in chances),
        opening=(opening,),
        is_required=True,
    )


_SURVIVE = "survive|have survived|make it|have made it|live|have lived|be among the survivors"


def _about(attributes: Mapping[str, Found | None]) -> Fact | None:
    values = {name: found.value for name, found in attributes.items() if found is not None}
    said, ways = [], []
    age, sex = values.get("age"), values.get("sex")
    nouns = "passenger|traveller|person"
    if sex is not None:
        said.append(f"{sex}")
        nouns = f"{sex} [{nouns}]" + (f"|{_ADULTS[sex]}" if age is not None and age >= ADULT_FROM_YEARS else "")
        adult = f"|an adult {sex}" if age_band(age) == "adult" else ""
        ways.append(f"{sex}|a ({nouns}){adult}")
    if age is not None:
        said.append(f"{age:g} years old")
        ways.append(f"[aged] {age:g} [years old|years of age]")
        # The noun says the sex.
        ways.append(f"(a|an) {age:g} year old [{nouns}]")
    if "pclass" in values:
        ticket = f"{CLASSES[values['pclass']]} class"
        said.append(f"in {ticket}")
        ways.append(f"[travelling|a passenger|who travels] in {ticket}|travelling {ticket}|a {ticket} passenger")
    if values.get("family") == 1:
        said.append("travelling alone")
        ways.append("[travelling] (alone|on your own|by yourself)")
    elif "family" in values:
        said.append(f"in a family of {values['family']}")
        ways.append(f"[travelling] (part of|in|with|as part of) a family of {values['family']}")
    if "embarked" in values:
        port = PORTS[values["embarked"]]
        said.append(f"from {port}")
        ways.append(f"(from|boarding at|who boarded at|who embarked at) {port.lower()}")
    if not said:
        return None
    person = f"{{?{' ; '.join(ways)}}}"
    return Fact(f"You are {listed(said)}.", (f"(you are|you were|as|being) {person}",), subject=person, is_reason=True)


_ADULTS = {"female": "woman", "male": "man"}
