"""What would have turned a prediction, checked by predicting the changed passenger and every smaller change."""

import json

import pytest

from mage_server.callable_blocks import PASSENGER_EXAMPLE
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.counterfactuals import Change, apply_changes, find_counterfactuals
from workflows.ml_training_and_inference.inference import predict_with
from workflows.passengers.contract import ATTRIBUTE_NAMES, parse_attributes


@pytest.fixture(scope="module")
def version(pipeline):
    return Version("test", "", pipeline)


@pytest.fixture(scope="module")
def passengers(titanic):
    rows = [parse_attributes(titanic.loc[row, list(ATTRIBUTE_NAMES)].to_dict()) for row in range(0, 891, 23)]
    return [parse_attributes(PASSENGER_EXAMPLE), parse_attributes({}), *rows]


def survives(version, passenger):
    return predict_with(version, passenger)["survived"] == 1


def alternatives(found):
    return [*found.single, *filter(None, (found.pair,))]


def test_every_change_turns_the_outcome(version, passengers):
    for passenger in passengers:
        found = find_counterfactuals(version, passenger)
        before = survives(version, passenger)
        assert found.target == ("died" if before else "survived")
        for one in alternatives(found):
            prediction = predict_with(version, apply_changes(passenger, one.changes))
            assert (prediction["survived"] == 1) is not before
            assert prediction["probability"] == pytest.approx(one.probability, abs=1e-5)


def test_all_cases_occur(version, passengers):
    found = [find_counterfactuals(version, passenger) for passenger in passengers]
    assert {one.target for one in found} == {"survived", "died"}
    assert any(one.single for one in found)
    assert any(one.pair for one in found)
    assert any(one.nearest for one in found)
    for one in found:
        assert sum([bool(one.single), one.pair is not None, one.nearest is not None]) == 1


def test_no_smaller_change_of_the_attribute_would_do(version, passengers):
    for passenger in passengers[:15]:
        before = survives(version, passenger)
        for one in find_counterfactuals(version, passenger).single:
            (change,) = one.changes
            if change.attribute in {"age", "fare"} and change.before is not None:
                step = 1 if change.after < change.before else -1
                between = range(int(change.after) + step, round(change.before) + step, step)
                for value in between:
                    smaller = apply_changes(passenger, (Change(change.attribute, change.before, value, ""),))
                    assert survives(version, smaller) is before


def test_values_are_in_the_range_seen_in_training(version, passengers):
    ranges = version.pipeline["features"].ranges_
    for passenger in passengers:
        for one in alternatives(find_counterfactuals(version, passenger)):
            for change in one.changes:
                if change.attribute in ranges:
                    lowest, highest = ranges[change.attribute]
                    assert lowest <= change.after <= highest


def test_what_is_unknown_may_become_known(version):
    found = find_counterfactuals(version, parse_attributes({"pclass": 3, "age": 30}))
    changes = [change for one in found.single for change in one.changes]
    assert any(change.before is None and "instead" not in change.text for change in changes)


@pytest.mark.parametrize(
    ("name", "change", "changed"),
    [
        ("Cumings, Mrs. John", ("sex", "male"), {"sex": "male", "_name": "Cumings, Mr. John"}),
        ("Braund, Mr. Owen", ("sex", "female"), {"sex": "female", "_name": "Braund, Miss. Owen"}),
        ("Braund, Mr. Owen", ("age", 9), {"age": 9, "_name": "Braund, Master. Owen"}),
        ("Heikkinen, Mrs. Laina", ("age", 9), {"age": 9, "_name": "Heikkinen, Mrs. Laina"}),
        ("Minahan, Dr. William", ("sex", "female"), {"sex": "female", "_name": "Minahan, Dr. William"}),
        ("Kim", ("family", 3), {"sibsp": 2, "parch": 1}),
        ("Kim", ("family", 0), {"sibsp": 0, "parch": 0}),
        ("Kim", ("deck", "B"), {"cabin": "B21"}),
        (None, ("sex", "female"), {"sex": "female", "_name": None}),
    ],
)
def test_the_passenger_stays_a_possible_one(name, change, changed):
    sex = "female" if name and "Mrs" in name else "male"
    passenger = parse_attributes({"sex": sex, "age": 40, "sibsp": 1, "parch": 1, "cabin": "D21", "_name": name})
    attribute, after = change
    assert apply_changes(passenger, (Change(attribute, None, after, ""),)) == passenger | changed


def test_it_is_json(version, passengers):
    found = find_counterfactuals(version, passengers[0]).to_dict()
    assert json.loads(json.dumps(found))["target"] == found["target"]
    assert found["single"][0]["changes"][0]["text"] == "a fare of 10 pounds instead of 100"
