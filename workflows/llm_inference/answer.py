"""Whether somebody would have survived: the model answers from the framework, its rate, and what the person says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.checks import CodeCheck, stands_in
from workflows.ai_blocks.client import LanguageModel
from workflows.common.numbers import numbers_in, unknown_number
from workflows.common.settings import get_settings
from workflows.common.text import percent
from workflows.llm_inference.bio import Reading, check_about_me, read_bio
from workflows.llm_inference.framework import Framework, Group, newest_framework

# How far the model's likelihood may be from the framework's rate, in percentage points: what a person says about
# themselves may count for much, but an instruction in a bio cannot turn a small chance into certainty.
MAX_DIFFERENCE_POINTS = 30
# From this difference on the model has to name a reason from the bio, and the answer says why they differ.
NOTABLE_DIFFERENCE_POINTS = 3


def will_i_survive(
    about_me: object,
    folder: Path | None = None,
    model: LanguageModel | None = None,
    pipeline_run_id: int | None = None,
) -> dict[str, Any]:
    """Answer whether the author of a bio would have survived.

    First the model reads the bio. Then code computes the framework's rate for what is known: that of the group with
    most of the known attributes (`Framework.group_for`). Last the model answers from the framework's text, that rate
    and the bio.

    Args:
        about_me: `{"bio": text}`, at most 2,000 characters, in any language.
        folder: Folder of the frameworks; by default that of the settings.
        model: Model to use; by default the configured one.
        pipeline_run_id: Run to which the tokens are added.

    Returns:
        `survives` and `probability` (the model's likelihood, or the framework's rate where no answer of the model was
        accepted), `answer` (text), `reasons` (each with its source, framework or bio, and a quote), `framework_rate`
        (computed), `difference` (where and why both differ, None if they do not), `attributes` and `traits` read in the
        bio with their quotes, `reading` (how the model read, and what was ignored), `group` of the rate,
        `framework_version`, and where the answer comes from, see `Answer.provenance`.

    Raises:
        InvalidInputError: `.fields` names `about_me` or `about_me.bio`.
        NotReadyError: there is no framework yet.
        ServiceError: the model's server could not be reached, or refused.
    """
    bio = check_about_me(about_me)
    framework = newest_framework(folder or get_settings().frameworks_dir)
    reading = read_bio(bio, model, pipeline_run_id)
    group = framework.group_for(reading.known_values())
    rate_percent = round(100 * group.rate)
    known = {name: found["value"] for name, found in reading.attributes.items()}
    lowest, highest = max(0, rate_percent - MAX_DIFFERENCE_POINTS), min(100, rate_percent + MAX_DIFFERENCE_POINTS)
    answer = ask(
        "will_i_survive",
        {
            "framework": {"text": framework.text, "rules": [rule.facts() for rule in framework.rules]},
            "rate": group.facts(),
            "known": known,
            "about_me": {"bio": bio},
            "limits": {"lowest": lowest, "highest": highest},
        },
        fallback=answer_from_rate(group),
        checks=checks_of(framework, group, bio),
        model=model,
        pipeline_run_id=pipeline_run_id,
    )
    likelihood = group.rate if answer.source == "facts" else answer.values["likelihood_percent"] / 100
    return {
        "survives": answer.values["verdict"] == "yes",
        "probability": round(likelihood, 4),
        "answer": answer.values["answer"],
        "reasons": answer.values["reasons"],
        "framework_rate": round(group.rate, 4),
        "difference": difference(likelihood, group, answer.values["reasons"]),
        "attributes": {name: reading.attributes.get(name) for name in ("sex", "age", "pclass", "family", "embarked")},
        "traits": reading.traits,
        "reading": _about(reading),
        "group": {**group.attributes, "count": group.count, "survived": group.survived},
        "framework_version": framework.version,
        **answer.provenance(),
    }


def verdict_of(likelihood: float) -> str:
    """Return "yes" from a likelihood of one half on, else "no"."""
    return "yes" if likelihood >= 0.5 else "no"


def answer_from_rate(group: Group) -> dict[str, Any]:
    """Return the answer made by code: the verdict by the framework's rate, and the group that it is of."""
    verdict = verdict_of(group.rate)
    text = (
        f"You would {'' if verdict == 'yes' else 'not '}survive: your chance of survival is {percent(group.rate)}. "
        f"That is the share of {'' if group.attributes else 'the '}{group.count} {_people(group)} who survived; the "
        "framework knows no smaller group that fits what you say."
    )
    return {"verdict": verdict, "likelihood_percent": round(100 * group.rate), "answer": text, "reasons": []}


def checks_of(framework: Framework, group: Group, bio: str) -> list[CodeCheck]:
    """Return the rules of a verdict, and the check of the quotes."""

    def likelihood(answer: Mapping[str, Any]) -> str | None:
        said, rate = answer["likelihood_percent"], round(100 * group.rate)
        if abs(said - rate) > MAX_DIFFERENCE_POINTS:
            return f"likelihood_percent {said} is more than {MAX_DIFFERENCE_POINTS} points from the framework's {rate}"
        has_own_reason = any(reason["source"] == "bio" for reason in answer["reasons"])
        if abs(said - rate) > NOTABLE_DIFFERENCE_POINTS and not has_own_reason:
            return f"likelihood_percent {said} differs from the framework's {rate} without a reason from the bio"
        return None

    def verdict(answer: Mapping[str, Any]) -> str | None:
        wanted = verdict_of(answer["likelihood_percent"] / 100)
        return None if answer["verdict"] == wanted else f"verdict has to be {wanted!r} for this likelihood_percent"

    def quotes(answer: Mapping[str, Any]) -> str | None:
        sources = {
            "bio": bio,
            "framework": "\n".join([framework.text, *(rule.name for rule in framework.rules), group.name]),
        }
        for reason in answer["reasons"]:
            if not stands_in(reason["quote"], sources[reason["source"]]):
                return f"the quote {reason['quote']!r:.60} does not stand in the {reason['source']}"
        return None

    def percentages(answer: Mapping[str, Any]) -> str | None:
        known = [group.rate, answer["likelihood_percent"], framework.text, [rule.rate for rule in framework.rules]]
        said = [number.text for number in numbers_in(answer["answer"]) if number.is_percent]
        wrong = next((text for text in said if unknown_number(text, known) is not None), None)
        return (
            None if wrong is None else f"answer names {wrong} %, which is neither the likelihood nor in the framework"
        )

    return [
        CodeCheck("within the framework's limits", "likelihood_percent", likelihood),
        CodeCheck("follows from the likelihood", "verdict", verdict),
        CodeCheck("quotes", "reasons", quotes),
        CodeCheck("percentages", "answer", percentages),
    ]


def difference(likelihood: float, group: Group, reasons: list[dict[str, str]]) -> str | None:
    """Say where and why the model's likelihood differs from the framework's rate, None where it does not."""
    points = round(100 * likelihood) - round(100 * group.rate)
    if abs(points) <= NOTABLE_DIFFERENCE_POINTS:
        return None
    own = "; ".join(f"{reason['text']} ({reason['quote']!r})" for reason in reasons if reason["source"] == "bio")
    return (
        f"The model's likelihood of {percent(likelihood)} is {abs(points)} points "
        f"{'above' if points > 0 else 'below'} the framework's {percent(group.rate)} for {group.name}, because of what "
        f"only the bio says: {own}"
    )


def _people(group: Group) -> str:
    return group.name if group.attributes else "passengers"


def _about(reading: Reading) -> dict[str, Any]:
    kept = ("source", "model", "attempts", "refusals", "cached")
    return {"ignored": reading.ignored, **{name: reading.provenance[name] for name in kept}}
