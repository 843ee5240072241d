"""Why the model predicts what it does for one passenger: exact contributions, worded by a language model."""

from collections.abc import Mapping
from typing import Any

from workflows.errors import InvalidInputError
from workflows.llm.answers import ask
from workflows.llm.client import LanguageModel
from workflows.llm.framework import ADULT_FROM_YEARS
from workflows.llm.grounding import Fact, first_unsupported, read
from workflows.llm.wording import CLASSES, PORTS, percent
from workflows.survival.features import BOY_AGE_YEARS, FEATURES, title_of

FEATURES_NAMED = 3

_RAISED = frozenset({"raised", "raises", "increased", "increases", "improved", "improves", "higher"})
_LOWERED = frozenset({"lowered", "lowers", "reduced", "reduces", "decreased", "decreases", "lower"})
_MOST = frozenset({"most", "strongest", "strongly", "main", "mainly", "mostly", "largest", "biggest"})


def explain(prediction: Mapping[str, Any], model: LanguageModel | None = None, run: object = None) -> dict[str, Any]:
    """Explain a prediction in a few sentences.

    Args:
        prediction: What `workflows.survival.inference.predict_passenger` returns.
        model: Whom to ask; by default the configured one.
        run: Id of the pipeline run, to which the tokens are booked.

    Returns:
        `survived` (0 or 1), `probability` and `model_version` of the prediction; `explanation`;
        `strongest_features`, name and log-odds; where the text comes from, see `Answer.provenance`.

    Raises:
        InvalidInputError: the prediction lacks something.
        ServiceError: the language model's server could not be reached, or refused.
    """
    lacking = {"survived", "probability", "passenger", "contributions", "model_version"} - set(prediction)
    if lacking:
        raise InvalidInputError("The prediction cannot be explained", dict.fromkeys(sorted(lacking), "is missing"))
    strongest = strongest_contributions(prediction["contributions"])
    facts = facts_of(prediction)

    def check(answer: Mapping[str, Any]) -> str | None:
        return omission(answer, facts)

    answer = ask("explain_prediction", {"outcome": outcome_of(prediction)}, facts, check=check, model=model, run=run)
    return {
        "survived": int(prediction["survived"]),
        "probability": float(prediction["probability"]),
        "model_version": prediction["model_version"],
        "explanation": answer.values["explanation"],
        "strongest_features": dict(strongest),
        **answer.provenance(),
    }


def outcome_of(prediction: Mapping[str, Any]) -> str:
    """Name the predicted outcome as the prompt does."""
    return "survived" if int(prediction["survived"]) else "died"


def strongest_contributions(contributions: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the features that moved the prediction most, in log-odds, strongest first; ties by name."""
    moved = [(name, float(value)) for name, value in contributions.items() if value]
    return sorted(moved, key=lambda item: (-abs(item[1]), item[0]))[:FEATURES_NAMED]


def facts_of(prediction: Mapping[str, Any]) -> list[Fact]:
    """Return what an explanation may say: the outcome first, then the strongest features in order."""
    passenger = prediction["passenger"]
    chance = percent(float(prediction["probability"]))
    if int(prediction["survived"]):
        outcome = Fact(
            f"The passenger is predicted to have survived: the chance of survival was {chance}.",
            (
                "The passenger is predicted to have survived.",
                "The passenger is predicted to survive.",
                f"The predicted chance of survival was {chance}.",
            ),
            frozenset({"prediction", "predicts", "model"}),
        )
    else:
        outcome = Fact(
            f"The passenger is predicted to have died: the chance of survival was {chance}.",
            (
                "The passenger is predicted to have died.",
                "The passenger is predicted to die.",
                "The passenger is not predicted to have survived.",
                f"The passenger is not predicted to survive: the chance of survival was {chance}.",
                f"The predicted chance of survival was {chance}.",
            ),
            frozenset({"prediction", "predicts", "model"}),
        )
    facts = [outcome]
    for rank, (feature, value) in enumerate(strongest_contributions(prediction["contributions"])):
        subject = describe(feature, passenger)
        start = f"Most of all, {subject}" if rank == 0 else f"{subject[0].upper()}{subject[1:]}"
        direction = "raised" if value > 0 else "lowered"
        facts.append(
            Fact(
                f"{start} {direction} the chance of survival.",
                words=frozenset({"factor", "feature", "effect"}) | (_MOST if rank == 0 else frozenset()),
                subject=subject,
                claim=_RAISED if value > 0 else _LOWERED,
            )
        )
    return facts


def contradiction(answer: Mapping[str, Any], facts: list[Fact]) -> str | None:
    """Say what an explanation gets wrong or leaves out, None if nothing."""
    return first_unsupported(str(answer["explanation"]), facts) or omission(answer, facts)


def omission(answer: Mapping[str, Any], facts: list[Fact]) -> str | None:
    """Say what an explanation leaves out, None if nothing: the outcome, or the strongest feature."""
    said = read(str(answer["explanation"]))
    outcome, *features = facts
    if not any(reading.words & {"died", "die", "surviv"} & said.words for reading in outcome.readings):
        return "the predicted outcome is left out"
    if features:
        missing = features[0].subject_stems - said.words
        if missing:
            return f"the strongest feature is left out: {features[0].subject}"
    return None


def describe(feature: str, passenger: Mapping[str, Any]) -> str:
    """Say in a few words what a feature of the model was for a passenger, as the subject of a sentence."""
    known = {name: value for name, value in passenger.items() if value is not None}
    family = 1 + int(known.get("sibsp", 0)) + int(known.get("parch", 0))
    texts = {
        "is_female": f"being {known.get('sex', 'of unknown sex')}",
        "is_woman_or_boy": _woman_boy_or_man(known),
        "pclass": f"travelling in {CLASSES[int(known['pclass'])]} class" if "pclass" in known else "an unknown class",
        "age": f"an age of {known['age']:g} years" if "age" in known else "an unknown age",
        "fare": f"a fare of about {known['fare']:.0f} pounds" if "fare" in known else "an unknown fare",
        "fare_per_person": "the fare for each person",
        "family_size": "travelling alone" if family == 1 else f"a family of {family} on board",
        "group_size": "the size of the group",
        "has_rare_title": "the title in the name",
        "deck": f"a cabin on deck {str(known['cabin'])[:1]}" if "cabin" in known else "an unknown cabin",
        "boarded_at_southampton": f"boarding at {PORTS[known['embarked']]}"
        if known.get("embarked") in PORTS
        else "an unknown port",
        "ticket_number": "the number of the ticket",
        "ticket_length": "the series of the ticket",
        "companions_survived": "the fate of the women and children on the same ticket",
    }
    if feature in texts:
        return texts[feature]
    return FEATURES[feature].description if feature in FEATURES else feature.replace("_", " ")


def _woman_boy_or_man(known: Mapping[str, Any]) -> str:
    title = title_of(str(known["_name"])) if "_name" in known else None
    if known.get("sex") == "female" or title == "woman":
        return "being a girl" if known.get("age", ADULT_FROM_YEARS) < ADULT_FROM_YEARS else "being a woman"
    if title == "boy" or (title is None and known.get("age", BOY_AGE_YEARS) < BOY_AGE_YEARS):
        return "being a boy"
    return "being a grown man" if "sex" in known or title else "an unknown sex"
