import json
from pathlib import Path

import pytest

from tests import corpus
from workflows.ai_blocks.prompts import load_prompt
from workflows.common.errors import InvalidInputError
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.counterfactuals import Counterfactuals, find_counterfactuals
from workflows.ml_training_and_inference.explanation import (
    describe,
    explain,
    explanation_from_facts,
    inputs_of,
    strongest_contributions,
)
from workflows.ml_training_and_inference.features import FEATURES
from workflows.ml_training_and_inference.inference import predict_with
from workflows.passengers.contract import parse_attributes

CORPUS = Path(__file__).parent / "corpus"
MAN = {"pclass": 3, "sex": "male", "age": 20, "fare": 8, "sibsp": 0, "parch": 0, "embarked": "S", "_name": "Doe, Mr. J"}


@pytest.fixture(scope="module")
def version(pipeline):
    return Version("test", "", pipeline)


@pytest.fixture(scope="module")
def prediction(version):
    return predict_with(version, parse_attributes(MAN))


@pytest.fixture
def explained(version, prediction, scripted):
    return lambda *answers: explain(prediction, version, scripted(*answers))


@pytest.fixture(scope="module")
def good(version, prediction):
    """An answer as a large model gives it."""
    facts = inputs_of(
        prediction,
        strongest_contributions(prediction["contributions"]),
        find_counterfactuals(version, prediction["passenger"]),
    )
    first = facts["features"][0]
    chance, changes = facts["prediction"]["survival_chance"], facts["counterfactuals"]
    return {
        "outcome": "died",
        "explanation": f"He most likely died: his chance of survival was {chance}, mostly for {first['meaning']}.",
        "strongest": [{"feature": first["feature"], "effect": first["effect"]}],
        "what_should_have_changed": f"{changes[0]['change']} ({changes[0]['survival_chance']}) would have saved him.",
        "changes": [{"change": changes[0]["change"]}],
    }


def test_the_model_gets_everything_and_its_answer_is_checked(version, prediction, good, scripted):
    model = scripted(good)
    output = explain(prediction, version, model)
    asked = model.asked[0][-1]["content"]
    assert '"sex": "male"' in asked
    assert "being female instead of male" in asked
    assert all(name in asked for name in output["strongest_features"])
    assert (output["source"], output["survived"], output["model_version"]) == ("model", 0, "test")
    assert output["explanation"] == good["explanation"]
    assert output["what_should_have_changed"] == good["what_should_have_changed"]
    assert output["changes"] == good["changes"]
    assert output["checked"] == {
        "outcome": ["equals"],
        "explanation": ["numbers", "states"],
        "strongest": ["signs"],
        "what_should_have_changed": ["numbers"],
        "changes": ["members"],
    }
    assert output["unchecked"] == []
    assert {one["changes"][0]["attribute"] for one in output["counterfactuals"]["single"]} >= {"sex", "age"}
    assert json.loads(json.dumps(output)) == output


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"outcome": "survived"}, "equals"),
        ({"explanation": "He most likely survived, as young people did so more often."}, "states"),
        ({"explanation": "He most likely died: his chance of survival was 99 % at the time."}, "numbers"),
        ({"strongest": [{"feature": "is_female", "effect": "raised"}]}, "signs"),
        ({"strongest": [{"feature": "wealth", "effect": "raised"}]}, "signs"),
        ({"changes": [{"change": "having a boat"}]}, "members"),
        ({"what_should_have_changed": "He should have been 77 years old."}, "numbers"),
        ({"changes": "none"}, "format"),
    ],
)
def test_what_the_facts_do_not_say_is_refused(explained, good, changes, check):
    output = explained(good | changes, good)
    assert (output["source"], output["attempts"], output["refusals"][0]["check"]) == ("model", 2, check)


def test_without_a_good_answer_code_explains(version, prediction, scripted):
    output = explain(prediction, version, scripted("", ""))
    assert output["source"] == "facts"
    assert output["explanation"].startswith("The passenger is predicted to have died: the chance of survival was")
    assert output["what_should_have_changed"].startswith("Any one of these would have been enough")
    assert "being female instead of male" in output["what_should_have_changed"]


def test_what_code_writes_passes_the_checks(version, titanic):
    prompt = load_prompt("explain_prediction")
    for row in range(0, 891, 60):
        passenger = parse_attributes(titanic.iloc[row].drop(["passenger_id", "survived"]).to_dict())
        prediction = predict_with(version, passenger)
        strongest = strongest_contributions(prediction["contributions"])
        found = find_counterfactuals(version, passenger)
        answer, inputs = explanation_from_facts(prediction, strongest, found), inputs_of(prediction, strongest, found)
        assert prompt.format_problem(answer) is None
        assert [check.problem(answer, inputs) for check in prompt.checks] == [None] * len(prompt.checks)


def test_what_would_have_turned_a_survivor_for_the_worse(version, scripted):
    woman = predict_with(version, parse_attributes(MAN | {"sex": "female", "pclass": 1, "_name": None, "fare": 80}))
    output = explain(woman, version, scripted("", ""))
    assert output["counterfactuals"]["target"] == "died"
    assert "to have died" in output["what_should_have_changed"]


def test_strongest_first_and_ties_by_name():
    contributions = {"b": -1, "a": 1, "c": 0.5, "d": 2, "e": 0, "f": 0.1, "g": 0.2}
    assert list(strongest_contributions(contributions)) == ["d", "a", "b", "c", "g"]


@pytest.mark.parametrize(
    ("feature", "changes", "text"),
    [
        ("pclass", {"pclass": 1}, "travelling in first class"),
        ("pclass", {"pclass": None}, "an unknown class"),
        ("is_female", {"sex": None}, "being of unknown sex"),
        ("is_woman_or_boy", {"sex": "male", "age": 5, "_name": None}, "being a boy"),
        ("is_woman_or_boy", {"sex": "female"}, "being a woman"),
        ("is_woman_or_boy", {"sex": "female", "age": 17}, "being a girl"),
        ("is_woman_or_boy", {"sex": "male"}, "being a grown man"),
        ("fare", {"fare": 7.8958}, "a fare of about 8 pounds"),
        ("family_size", {"sibsp": 1, "parch": 2}, "a family of 4 on board"),
        ("family_size", {}, "travelling alone"),
        ("family_size", {"sibsp": None}, "a family of unknown size on board"),
        ("fare_per_person", {"fare": None}, "an unknown fare for each person"),
        ("group_size", {"parch": None}, "the unknown size of the group"),
        ("has_rare_title", {"_name": None}, "an unknown name"),
        ("ticket_number", {"ticket": None}, "the unknown number of the ticket"),
        ("companions_survived", {"ticket": None}, "the unknown fate of the women and children on the same ticket"),
        ("deck", {"cabin": None}, "an unknown cabin"),
        ("a_new_feature", {}, "a new feature"),
    ],
)
def test_describe(feature, changes, text):
    assert describe(feature, MAN | changes) == text


def test_every_feature_is_described():
    assert all(describe(feature, {}) for feature in FEATURES)


def test_incomplete_prediction_is_refused(version, scripted):
    with pytest.raises(InvalidInputError, match="contributions"):
        explain({"survived": 1}, version, scripted())


class TestCorpus:
    @pytest.fixture
    def problem(self):
        cases = corpus.load(CORPUS / "explanation.yaml")["cases"]
        prompt = load_prompt("explain_prediction")

        def find(case, text):
            prediction = cases[case]
            strongest = strongest_contributions(prediction["contributions"])
            target = "died" if prediction["survived"] else "survived"
            nothing = Counterfactuals(target, (), None, None)
            answer = explanation_from_facts(prediction, strongest, nothing) | {"explanation": text}
            inputs = inputs_of(prediction, strongest, nothing)
            return next(filter(None, (check.problem(answer, inputs) for check in prompt.checks)), None)

        return find

    @pytest.mark.parametrize("half", ["explanation", "explanation_held_out"])
    def test_falsehoods(self, half, problem, record_property):
        wrong, _ = corpus.passing(CORPUS / f"{half}.yaml", "refuse", corpus.FORBIDDEN_KINDS, problem)
        assert wrong == []
        subtle, count = corpus.passing(CORPUS / f"{half}.yaml", "refuse", {"other"}, problem)
        record_property("subtle_falsehoods_that_pass", f"{len(subtle)} of {count}")

    @pytest.mark.parametrize("half", ["explanation", "explanation_held_out"])
    def test_honest_texts_pass(self, half, problem):
        passed, count = corpus.passing(CORPUS / f"{half}.yaml", "accept", None, problem)
        assert len(passed) >= 0.95 * count
