"""Minimum functionality tests: invented passengers whose outcome is clear from history."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pytest

Ask = Callable[[Mapping[str, object]], dict[str, Any]]

CASES: dict[str, dict[str, object]] = {
    "a first-class woman with her husband": {
        "pclass": "1", "_name": "Doe, Mrs. John (Jane)", "sex": "female", "age": "35", "sibsp": "1", "parch": "0",
        "ticket": "PC 17700", "fare": "80", "cabin": "C86", "embarked": "C",
    },
    "a first-class man alone": {
        "pclass": "1", "_name": "Doe, Mr. John", "sex": "male", "age": "45", "sibsp": "0", "parch": "0",
        "ticket": "113001", "fare": "30", "cabin": "C20", "embarked": "S",
    },
    "a boy in second class with his mother": {
        "pclass": "2", "_name": "Doe, Master. Tom", "sex": "male", "age": "4", "sibsp": "0", "parch": "1",
        "ticket": "28001", "fare": "26", "embarked": "S",
    },
    "his mother": {
        "pclass": "2", "_name": "Doe, Mrs. Ann", "sex": "female", "age": "29", "sibsp": "0", "parch": "1",
        "ticket": "28001", "fare": "26", "embarked": "S",
    },
    "a second-class man alone": {
        "pclass": "2", "_name": "Doe, Mr. Tom", "sex": "male", "age": "35", "sibsp": "0", "parch": "0",
        "ticket": "250001", "fare": "13", "embarked": "S",
    },
    "a girl in third class with her mother": {
        "pclass": "3", "_name": "Doe, Miss. Ida", "sex": "female", "age": "3", "sibsp": "0", "parch": "1",
        "ticket": "2600", "fare": "14", "embarked": "C",
    },
    "a third-class man alone": {
        "pclass": "3", "_name": "Doe, Mr. Jack", "sex": "male", "age": "28", "sibsp": "0", "parch": "0",
        "ticket": "349199", "fare": "7.9", "embarked": "S",
    },
    "a third-class mother of six": {
        "pclass": "3", "_name": "Doe, Mrs. Eva", "sex": "female", "age": "40", "sibsp": "1", "parch": "6",
        "ticket": "347001", "fare": "46", "embarked": "S",
    },
    "a boy among them": {
        "pclass": "3", "_name": "Doe, Master. Max", "sex": "male", "age": "6", "sibsp": "5", "parch": "2",
        "ticket": "347001", "fare": "46", "embarked": "S",
    },
}  # fmt: skip
SURVIVORS = (
    "a first-class woman with her husband",
    "a boy in second class with his mother",
    "his mother",
    "a girl in third class with her mother",
)


@pytest.mark.parametrize("case", CASES)
def test_clear_cases(case: str, ask: Ask) -> None:
    answer = ask(CASES[case])
    assert answer["survived"] == int(case in SURVIVORS)
    # The prediction is not close to the threshold.
    assert abs(answer["probability"] - 0.5) > 0.15, answer["probability"]
    # Only the ticket is unknown.
    assert answer["unseen"] == ["ticket"]


@pytest.mark.parametrize(
    ("likely", "unlikely"),
    [
        ("a first-class woman with her husband", "a girl in third class with her mother"),
        ("a girl in third class with her mother", "a third-class mother of six"),
        ("a boy in second class with his mother", "a second-class man alone"),
        ("a boy in second class with his mother", "a boy among them"),
        ("his mother", "a second-class man alone"),
        ("a first-class man alone", "a second-class man alone"),
        ("a first-class man alone", "a third-class man alone"),
        ("a boy among them", "a third-class man alone"),
    ],
)
def test_order_of_probabilities(likely: str, unlikely: str, ask: Ask) -> None:
    assert ask(CASES[likely])["probability"] > ask(CASES[unlikely])["probability"]


def test_each_known_attribute_changes_the_probability(ask: Ask) -> None:
    def probability(**variables: object) -> float:
        return float(ask(variables)["probability"])

    assert probability(sex="male") < probability() < probability(sex="female")
    assert probability(pclass=3) < probability() < probability(pclass=1)
    assert probability(pclass=3) < probability(pclass=2) < probability(pclass=1)
    for sex in ("male", "female"):
        third, second, first = (probability(sex=sex, pclass=pclass) for pclass in (3, 2, 1))
        assert third < second < first
        assert abs(third - 0.5) < 0.5
    # Women have a higher probability than men in every class.
    assert probability(sex="female", pclass=3) > probability(sex="male", pclass=1)
    # A title gives the sex if it is missing, and distinguishes boys from men.
    assert probability(_name="Doe, Mr. John") < probability() < probability(_name="Doe, Mrs. Jane")
    assert probability(sex="male", age=4) > probability(sex="male", age=30)
    assert probability(sex="male", _name="Doe, Master. Tom") > probability(sex="male", _name="Doe, Mr. Tom")


def test_mean_predictions_of_groups_are_near_the_observed_rates(
    titanic: pd.DataFrame, answers: list[dict[str, Any]]
) -> None:
    predicted = titanic.assign(predicted=[answer["probability"] for answer in answers])
    groups = predicted.groupby(["sex", "pclass"])[["predicted", "survived"]].mean()
    assert len(groups) == 6
    far = groups[(groups["predicted"] - groups["survived"]).abs() > 0.08]
    assert far.empty, far
    assert predicted["predicted"].mean() == pytest.approx(titanic["survived"].mean(), abs=0.03)
