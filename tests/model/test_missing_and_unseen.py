"""Missing and unseen values: they are predicted, and named in the output."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pytest

from mage_server.callable_blocks import PASSENGER_EXAMPLE
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.inference import predict_with
from workflows.ml_training_and_inference.training import Parameters, fit
from workflows.passengers.contract import ATTRIBUTE_NAMES, MISSING, parse_attributes

Answer = dict[str, Any]
Ask = Callable[[Mapping[str, object]], Answer]
ABSENT = object()
WAYS = (ABSENT, None, "", "   ", "unknown", "Unknown", float("nan"), *sorted(MISSING - {"", "unknown"}))


def without(variables: Mapping[str, object], names: tuple[str, ...], way: object) -> dict[str, object]:
    kept = {name: value for name, value in variables.items() if name not in names}
    return kept if way is ABSENT else kept | dict.fromkeys(names, way)


@pytest.fixture(scope="session")
def range_of_the_data(answers: list[Answer]) -> tuple[float, float]:
    probabilities = [answer["probability"] for answer in answers]
    return min(probabilities), max(probabilities)


@pytest.mark.parametrize("names", [*((name,) for name in ATTRIBUTE_NAMES), ATTRIBUTE_NAMES], ids=" ".join)
def test_missing_attributes(names: tuple[str, ...], ask: Ask, range_of_the_data: tuple[float, float]) -> None:
    ways = [ask(without(PASSENGER_EXAMPLE, names, way)) for way in WAYS]
    answer = ways[0]
    assert all(other == answer for other in ways)
    assert answer["missing"] == list(names)
    assert answer["passenger"] == parse_attributes(PASSENGER_EXAMPLE) | dict.fromkeys(names)
    lowest, highest = range_of_the_data
    assert lowest <= answer["probability"] <= highest
    assert answer["survived"] == int(answer["probability"] >= 0.5)


def test_any_attribute_of_anybody_may_be_missing(
    callers: list[dict[str, object]], ask: Ask, range_of_the_data: tuple[float, float]
) -> None:
    lowest, highest = range_of_the_data
    missing_in_the_data = set()
    for caller, way in zip(callers[::20], itertools.cycle(WAYS), strict=False):
        known = {name for name, value in caller.items() if value}
        missing_in_the_data |= set(ATTRIBUTE_NAMES) - known
        for names in (*((name,) for name in ATTRIBUTE_NAMES), ("sex", "_name"), ("ticket", "cabin", "fare")):
            answer = ask(without(caller, names, way))
            assert answer["missing"] == [name for name in ATTRIBUTE_NAMES if name not in known - set(names)]
            assert lowest <= answer["probability"] <= highest
            assert answer["unseen"] == []
    assert {"age", "cabin"} <= missing_in_the_data


def test_nobody_of_the_training_data_is_unseen(callers: list[dict[str, object]], answers: list[Answer]) -> None:
    assert [answer["unseen"] for answer in answers] == [[]] * 891
    assert [answer["missing"] for answer in answers] == [
        [name for name in ATTRIBUTE_NAMES if not caller[name]] for caller in callers
    ]


# Values that do not occur in the training data. All values of sex, class and port occur.
UNSEEN: dict[str, object] = {
    "_name": "Kim",
    "age": "0.1",
    "sibsp": "9",
    "parch": "7",
    "ticket": "never sold",
    "fare": "513",
    "cabin": "Z1",
}


@pytest.mark.parametrize(
    "names",
    [names for count in (1, 2, len(UNSEEN)) for names in itertools.combinations(UNSEEN, count)],
    ids=" ".join,
)
def test_unseen_attributes(names: tuple[str, ...], callers: list[dict[str, object]], ask: Ask) -> None:
    # All attributes of the second passenger are known.
    assert all(callers[1].values())
    answer = ask(callers[1] | {name: UNSEEN[name] for name in names})
    assert answer["unseen"] == [name for name in ATTRIBUTE_NAMES if name in names]
    assert answer["missing"] == []
    assert 0 < answer["probability"] < 1


@pytest.mark.parametrize(
    ("name", "seen", "unseen"),
    [
        ("age", ["0.42", "80"], ["0.41", "80.5", "0", "120"]),
        ("sibsp", ["0", "8"], ["9", "20"]),
        ("parch", ["0", "6"], ["7", "20"]),
        ("fare", ["0", "512.3292"], ["512.33", "99999"]),
        ("cabin", ["A1", "c999", "T", "G6"], ["H1", "Z", "1A"]),
        ("ticket", ["PC 17599", "LINE"], ["pc17599", "PC 1759", "0"]),
        ("_name", ["Mr X", "X, Mrs. Y", "Dr. X", "X, Master. Y"], ["X", "Don X", "X, Lord. Y"]),
        ("sex", ["male", "FEMALE"], []),
        ("pclass", ["1", "2", "3"], []),
        ("embarked", ["C", "q", "S"], []),
    ],
)
def test_limits_of_unseen_values(name: str, seen: list[str], unseen: list[str], ask: Ask) -> None:
    """The limits of the training data are not unseen, and each attribute is checked separately."""
    assert {value: ask({name: value})["unseen"] for value in seen} == {value: [] for value in seen}
    assert {value: ask({name: value})["unseen"] for value in unseen} == {value: [name] for value in unseen}


def test_what_is_unseen_depends_on_the_training_data(titanic: pd.DataFrame) -> None:
    """A class, title, ticket, deck and port that one model has seen can be unseen by another."""
    passenger = parse_attributes(
        {"pclass": 1, "_name": "A, Dr. B", "sex": "male", "age": 30, "sibsp": 0, "parch": 0, "ticket": "PC 17599",
         "fare": 30, "cabin": "A9", "embarked": "Q"}
    )  # fmt: skip
    common = titanic["_name"].str.contains(r", (?:Mr|Mrs|Miss|Master)\.")
    few = titanic[(titanic["embarked"] == "S") & (titanic["pclass"] > 1) & common]
    unseen = {}
    for name, df in (("all", titanic), ("few", few)):
        pipeline = fit(df[list(ATTRIBUTE_NAMES)], df["survived"].to_numpy(), Parameters(n_estimators=5))
        unseen[name] = predict_with(Version(name, "", pipeline), passenger)["unseen"]
    assert unseen == {"all": [], "few": ["pclass", "_name", "ticket", "cabin", "embarked"]}
