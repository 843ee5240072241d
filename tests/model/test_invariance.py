"""Invariance tests: changes that must not affect a prediction."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.inference import predict_batch
from workflows.passengers.contract import ATTRIBUTES, Value

Answer = dict[str, Any]
Ask = Callable[[Mapping[str, object]], Answer]
Probabilities = Callable[[pd.DataFrame], np.ndarray]

NUMBERS = [column.name for column in ATTRIBUTES if column.kind != "text"]
CHOICES = [column.name for column in ATTRIBUTES if column.choices]
# Each format is tested with every tenth passenger.
EVERY = 10


def without_name(answer: Answer) -> Answer:
    return {**answer, "passenger": {**answer["passenger"], "_name": None}}


@pytest.mark.parametrize("names", [("Kim", "Lee"), ("Alex Smith", "Zoë van der Berg"), ("Don Quixote", "Major Tom")])
def test_renaming_a_passenger_without_a_title(
    names: tuple[str, str], titanic: pd.DataFrame, callers: list[dict[str, object]], version: Version, ask: Ask
) -> None:
    one, other = (predict_batch(version, titanic.assign(_name=name)) for name in names)
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    for caller in callers[::EVERY]:
        first, second = (ask({**caller, "_name": name}) for name in names)
        assert first["unseen"] == second["unseen"] == ["_name"]
        assert without_name(first) == without_name(second)


def test_a_name_without_a_title_is_equal_to_no_name(titanic: pd.DataFrame, version: Version) -> None:
    nameless = predict_batch(version, titanic.assign(_name=None))
    pd.testing.assert_frame_equal(predict_batch(version, titanic.assign(_name="Kim")), nameless, check_exact=True)


def test_renaming_a_passenger_who_keeps_the_title(titanic: pd.DataFrame, version: Version) -> None:
    titles = titanic["_name"].str.extract(r",\s*(.*?\.)", expand=False)
    assert titles.notna().all()
    renamed = titanic.assign(_name="Smith, " + titles + " Alex")
    pd.testing.assert_frame_equal(predict_batch(version, renamed), predict_batch(version, titanic), check_exact=True)


def test_order_and_size_of_a_batch(titanic: pd.DataFrame, version: Version) -> None:
    whole = predict_batch(version, titanic)
    shuffled = titanic.sample(frac=1, random_state=3)
    assert not shuffled.index.equals(titanic.index)
    pd.testing.assert_frame_equal(predict_batch(version, shuffled).sort_index(), whole, check_exact=True)
    some = titanic.iloc[5::7]
    pd.testing.assert_frame_equal(predict_batch(version, some), whole.loc[some.index], check_exact=True)
    twice = pd.concat([titanic, titanic], ignore_index=True)
    pd.testing.assert_frame_equal(
        predict_batch(version, twice).tail(len(titanic)).set_index(titanic.index), whole, check_exact=True
    )


def test_order_and_number_of_the_calls(callers: list[dict[str, object]], answers: list[Answer], ask: Ask) -> None:
    for position in reversed(range(0, len(callers), EVERY)):
        backwards = dict(reversed(callers[position].items()))
        assert ask(backwards) == answers[position]


def test_additional_columns_and_variables(
    titanic: pd.DataFrame, callers: list[dict[str, object]], answers: list[Answer], version: Version, ask: Ask
) -> None:
    # Both tables contain the outcome, and it is inverted in the second one.
    more = titanic.assign(survived=1 - titanic["survived"], company_id=7, company_name="x", deck="A", Sex="male")
    more = more.iloc[:, ::-1]
    pd.testing.assert_frame_equal(predict_batch(version, more), predict_batch(version, titanic), check_exact=True)
    unknown = {"survived": "1", "company": {"name": "x"}, "Pclass": 1, "AGE": "abc", "context": object(), "": None}
    for caller, answer in zip(callers[::EVERY], answers[::EVERY], strict=True):
        assert ask({**caller, **unknown}) == answer


def as_numbers(passenger: Mapping[str, Value]) -> dict[str, object]:
    return dict(passenger)


def as_numpy_numbers(passenger: Mapping[str, Value]) -> dict[str, object]:
    kinds: dict[type, Callable[[Any], object]] = {int: np.int64, float: np.float64}
    return {name: kinds[type(value)](value) if type(value) in kinds else value for name, value in passenger.items()}


def as_padded_text(passenger: Mapping[str, Value]) -> dict[str, object]:
    return {name: None if value is None else f" \t{value}\n " for name, value in passenger.items()}


def as_text_with_sign_and_exponent(passenger: Mapping[str, Value]) -> dict[str, object]:
    return {
        name: f"+{value}e0" if name in NUMBERS and value is not None else value for name, value in passenger.items()
    }


def with_choices_in_upper_case(passenger: Mapping[str, Value]) -> dict[str, object]:
    return {name: str(value).upper() if name in CHOICES and value else value for name, value in passenger.items()}


def with_choices_in_lower_case(passenger: Mapping[str, Value]) -> dict[str, object]:
    return {name: str(value).lower() if name in CHOICES and value else value for name, value in passenger.items()}


@pytest.mark.parametrize(
    "write",
    [
        as_numbers,
        as_numpy_numbers,
        as_padded_text,
        as_text_with_sign_and_exponent,
        with_choices_in_upper_case,
        with_choices_in_lower_case,
    ],
)
def test_format_of_the_values(
    write: Callable[[Mapping[str, Value]], dict[str, object]], answers: list[Answer], ask: Ask
) -> None:
    written = [write(answer["passenger"]) for answer in answers[::EVERY]]
    assert [ask(variables) for variables in written] == answers[::EVERY]
