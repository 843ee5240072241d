import pytest

from workflows.ai_blocks.grounding import Fact, objection
from workflows.ai_blocks.prompts import load_prompt
from workflows.common.errors import InvalidInputError
from workflows.survival.explanation import describe, explain, facts_of, strongest_contributions, unclear_chance
from workflows.survival.features import FEATURES

PASSENGER = {
    "pclass": 3, "_name": "Kim", "sex": "female", "age": 21.0, "sibsp": 0, "parch": 0, "ticket": "315037",
    "fare": 100.0, "cabin": "D21", "embarked": "S",
}  # fmt: skip
PREDICTION = {
    "survived": 0,
    "probability": 0.331,
    "passenger": PASSENGER,
    "contributions": {"is_female": 1.2, "pclass": -1.5, "fare": 0.1, "age": -0.4, "deck": 0.0},
    "base_value": -0.1,
    "missing": [],
    "unseen": [],
    "model_version": "v1",
}
GOOD = (
    "The passenger is predicted to have died: the chance of survival was 33 %. Travelling in third class lowered the "
    "chance the most, while being female raised it."
)


def check(text):
    facts = facts_of(PREDICTION)
    return objection(text, facts) or unclear_chance({"explanation": text}, facts)


def test_model_explains(scripted):
    answer = explain(PREDICTION, scripted({"outcome": "died", "explanation": GOOD}))
    assert (answer["survived"], answer["probability"], answer["model_version"]) == (0, 0.331, "v1")
    assert answer["explanation"] == GOOD
    assert answer["strongest_features"] == {"pclass": -1.5, "is_female": 1.2, "age": -0.4}
    assert answer["source"] == "model"


def test_other_outcome_ends_in_the_facts(scripted):
    answer = explain(PREDICTION, scripted(*[{"outcome": "survived", "explanation": GOOD}] * 9))
    assert answer["source"] == "facts"
    assert "predicted to have died" in answer["explanation"]
    assert "Most of all, travelling in third class lowered the chance of survival." in answer["explanation"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (GOOD.replace("died", "survived"), "other outcome"),
        (GOOD.replace("33", "66"), "other number"),
        (GOOD.replace("raised", "lowered"), "other direction"),
        (GOOD.replace("third", "first"), "other class"),
        ("The passenger is predicted to have died. Being female raised the chance.", "strongest feature left out"),
        ("Travelling in third class lowered the chance of survival the most.", "outcome left out"),
        (GOOD.replace("being female", "being female, most of all,"), "another one the strongest"),
        (f"{GOOD} Kim was brave.", "made up"),
    ],
)
def test_contradiction_is_refused(text, why):
    assert check(GOOD) is None
    assert check(text) is not None, why


@pytest.mark.parametrize("survived", [0, 1])
def test_text_made_from_facts_passes_the_check(survived):
    for feature in FEATURES:
        for value in (-1.0, 1.0):
            prediction = {**PREDICTION, "survived": survived, "contributions": {feature: value, "age": 0.1}}
            facts = facts_of(prediction)
            assert objection(" ".join(fact.text for fact in facts), facts) is None


def test_no_contribution_at_all_is_explained_by_the_outcome(scripted):
    answer = explain({**PREDICTION, "contributions": {"age": 0.0}}, scripted(*[""] * 9))
    assert answer["explanation"] == "The passenger is predicted to have died: the chance of survival was 33 %."


def test_strongest_first_and_ties_by_name():
    contributions = {"b": -1, "a": 1, "c": 0.5, "d": 2, "e": 0}
    assert [name for name, _ in strongest_contributions(contributions)] == ["d", "a", "b"]


@pytest.mark.parametrize(
    ("feature", "changes", "text"),
    [
        ("pclass", {"pclass": 1}, "travelling in first class"),
        ("pclass", {"pclass": None}, "an unknown class"),
        ("is_female", {"sex": None}, "being of unknown sex"),
        ("is_woman_or_boy", {"sex": "male", "age": 5}, "being a boy"),
        ("is_woman_or_boy", {"sex": "female"}, "being a woman"),
        ("is_woman_or_boy", {"sex": "female", "age": 17}, "being a girl"),
        ("is_woman_or_boy", {"sex": "male"}, "being a grown man"),
        ("is_woman_or_boy", {"sex": "male", "_name": "Kim, Master. Min"}, "being a boy"),
        ("fare", {"fare": 7.8958}, "a fare of about 8 pounds"),
        ("family_size", {"sibsp": 1, "parch": 2}, "a family of 4 on board"),
        ("family_size", {}, "travelling alone"),
        ("deck", {"cabin": None}, "an unknown cabin"),
        ("a_new_feature", {}, "a new feature"),
    ],
)
def test_describe(feature, changes, text):
    assert describe(feature, {**PASSENGER, **changes}) == text


def test_incomplete_prediction_is_refused(scripted):
    with pytest.raises(InvalidInputError, match="contributions"):
        explain({"survived": 1}, scripted())


def test_examples_of_the_prompt_keep_to_their_facts():
    for example in load_prompt("explain_prediction").examples:
        lines = [line.removeprefix("- ") for line in example.inputs["facts"].splitlines()]
        outcome = Fact(lines[0])
        claims = [Fact(line) for line in lines[1:]]
        assert objection(example.answer["explanation"], [outcome, *claims]) is None
