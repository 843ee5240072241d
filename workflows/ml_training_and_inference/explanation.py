"""Why the survival model predicts what it does for a passenger, and what should have changed, in words.

A language model gets the passenger, the prediction, its exact contributions and the counterfactuals; code checks its
answer against them.
"""

from collections.abc import Mapping
from typing import Any

from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.client import LanguageModel
from workflows.common.errors import InvalidInputError
from workflows.common.text import listed, percent
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.counterfactuals import Counterfactuals, find_counterfactuals
from workflows.ml_training_and_inference.features import BOY_AGE_YEARS, FEATURES, deck_of, title_of
from workflows.passengers.contract import ADULT_FROM_YEARS, CLASSES, PORTS

# Features that are shown to the model, the strongest first.
FEATURES_SHOWN = 5
NEEDED = ("survived", "probability", "passenger", "contributions", "model_version")


def explain(
    prediction: Mapping[str, Any],
    version: Version,
    model: LanguageModel | None = None,
    pipeline_run_id: int | None = None,
) -> dict[str, Any]:
    """Explain a prediction, and say what would have turned it.

    Args:
        prediction: As `workflows.ml_training_and_inference.inference.predict_passenger` returns it.
        version: Model that the counterfactuals are computed with.
        model: Language model to use; by default the configured one.
        pipeline_run_id: Run to which the tokens are added.

    Returns:
        `survived` (0 or 1), `probability` and `model_version` of the prediction; `explanation`; `strongest_features`,
        name and contribution in log-odds, the strongest first; `what_should_have_changed` (text) and `changes` (those
        of the counterfactuals that the text is about); `counterfactuals`, see `Counterfactuals`; and where the texts
        come from, see `Answer.provenance`.

    Raises:
        InvalidInputError: the prediction lacks something.
        ServiceError: the language model's server could not be reached, or refused.
    """
    if lacking := [name for name in NEEDED if name not in prediction]:
        raise InvalidInputError("The prediction cannot be explained", dict.fromkeys(lacking, "is missing"))
    counterfactuals = find_counterfactuals(version, prediction["passenger"])
    strongest = strongest_contributions(prediction["contributions"])
    inputs = inputs_of(prediction, strongest, counterfactuals)
    answer = ask(
        "explain_prediction",
        inputs,
        fallback=explanation_from_facts(prediction, strongest, counterfactuals),
        model=model,
        pipeline_run_id=pipeline_run_id,
    )
    return {
        "survived": int(prediction["survived"]),
        "probability": float(prediction["probability"]),
        "model_version": prediction["model_version"],
        "explanation": answer.values["explanation"],
        "strongest_features": strongest,
        "what_should_have_changed": answer.values["what_should_have_changed"],
        "changes": answer.values["changes"],
        "counterfactuals": counterfactuals.to_dict(),
        **answer.provenance(),
    }


def strongest_contributions(contributions: Mapping[str, float]) -> dict[str, float]:
    """Return the features that moved the prediction most, in log-odds, the strongest first; ties by name."""
    moved = [(name, float(value)) for name, value in contributions.items() if value]
    return dict(sorted(moved, key=lambda item: (-abs(item[1]), item[0]))[:FEATURES_SHOWN])


def inputs_of(
    prediction: Mapping[str, Any], strongest: Mapping[str, float], counterfactuals: Counterfactuals
) -> dict[str, Any]:
    """Return what the language model is told."""
    passenger = prediction["passenger"]
    return {
        "prediction": {
            "outcome": outcome_of(prediction),
            "probability": float(prediction["probability"]),
            "survival_chance": percent(float(prediction["probability"])),
            "other_outcome": counterfactuals.target,
        },
        "passenger": {name: value for name, value in passenger.items() if value is not None},
        "contributions": dict(strongest),
        "features": [
            {"feature": name, "meaning": describe(name, passenger), "effect": "raised" if value > 0 else "lowered"}
            for name, value in strongest.items()
        ],
        "counterfactuals": counterfactual_facts(counterfactuals),
    }


def counterfactual_facts(counterfactuals: Counterfactuals) -> list[dict[str, Any]]:
    """Return each change or pair of changes in words, with the chance of survival that it leads to."""
    alternatives = counterfactuals.single or tuple(filter(None, (counterfactuals.pair, counterfactuals.nearest)))
    return [
        {
            "change": listed([change.text for change in one.changes]),
            "survival_chance": percent(one.probability),
            "is_enough": one is not counterfactuals.nearest,
        }
        for one in alternatives
    ]


def outcome_of(prediction: Mapping[str, Any]) -> str:
    """Name the predicted outcome."""
    return "survived" if int(prediction["survived"]) else "died"


def explanation_from_facts(
    prediction: Mapping[str, Any], strongest: Mapping[str, float], counterfactuals: Counterfactuals
) -> dict[str, Any]:
    """Return the answer made by code."""
    passenger = prediction["passenger"]
    sentences = [
        f"The passenger is predicted to have {outcome_of(prediction)}: the chance of survival was "
        f"{percent(float(prediction['probability']))}."
    ]
    for number, (name, value) in enumerate(list(strongest.items())[:3]):
        subject = describe(name, passenger)
        start = f"Most of all, {subject}" if number == 0 else f"{subject[0].upper()}{subject[1:]}"
        sentences.append(f"{start} {'raised' if value > 0 else 'lowered'} the chance of survival.")
    facts = counterfactual_facts(counterfactuals)
    enough = [f"{one['change']} ({one['survival_chance']})" for one in facts if one["is_enough"]]
    if counterfactuals.single:
        changes = f"Any one of these would have been enough for the passenger to have {counterfactuals.target}: "
        changes += f"{'; '.join(enough)}."
    elif enough:
        changes = f"No single change would have been enough, but these together: {enough[0]}."
    elif facts:
        changes = (
            "No single change and no pair of changes would have turned the prediction; nearest comes "
            f"{facts[0]['change']}, with a chance of survival of {facts[0]['survival_chance']}."
        )
    else:
        changes = "Nothing that the model looks at could have changed."
    return {
        "outcome": outcome_of(prediction),
        "explanation": " ".join(sentences),
        "strongest": [
            {"feature": name, "effect": "raised" if value > 0 else "lowered"} for name, value in strongest.items()
        ],
        "what_should_have_changed": changes,
        "changes": [{"change": one["change"]} for one in facts],
    }


def describe(feature: str, passenger: Mapping[str, Any]) -> str:
    """Say in a few words what a feature was for a passenger, as the subject of a sentence."""
    known = {name: value for name, value in passenger.items() if value is not None}
    family = 1 + int(known["sibsp"]) + int(known["parch"]) if {"sibsp", "parch"} <= known.keys() else None
    ticket = "" if "ticket" in known else "unknown "
    texts = {
        "is_female": f"being {known.get('sex', 'of unknown sex')}",
        "is_woman_or_boy": _woman_boy_or_man(known),
        "pclass": f"travelling in {CLASSES[int(known['pclass'])]} class" if "pclass" in known else "an unknown class",
        "age": f"an age of {known['age']:g} years" if "age" in known else "an unknown age",
        "fare": f"a fare of about {known['fare']:.0f} pounds" if "fare" in known else "an unknown fare",
        "fare_per_person": "the fare for each person" if "fare" in known else "an unknown fare for each person",
        "family_size": "travelling alone" if family == 1 else f"a family of {family or 'unknown size'} on board",
        "group_size": "the size of the group" if family else "the unknown size of the group",
        "has_rare_title": "the title in the name" if "_name" in known else "an unknown name",
        "deck": f"a cabin on deck {deck_of(str(known['cabin']))}" if "cabin" in known else "an unknown cabin",
        "boarded_at_southampton": f"boarding at {PORTS[known['embarked']]}"
        if known.get("embarked") in PORTS
        else "an unknown port",
        "ticket_number": f"the {ticket}number of the ticket",
        "ticket_length": f"the {ticket}series of the ticket",
        "companions_survived": f"the {ticket}fate of the women and children on the same ticket",
    }
    return texts.get(feature) or (FEATURES[feature].description if feature in FEATURES else feature.replace("_", " "))


def _woman_boy_or_man(known: Mapping[str, Any]) -> str:
    title = title_of(str(known["_name"])) if "_name" in known else None
    if known.get("sex") == "female" or title == "woman":
        return "being a girl" if known.get("age", ADULT_FROM_YEARS) < ADULT_FROM_YEARS else "being a woman"
    if title == "boy" or (title is None and known.get("age", BOY_AGE_YEARS) < BOY_AGE_YEARS):
        return "being a boy"
    return "being a grown man" if "sex" in known or title else "an unknown sex"
