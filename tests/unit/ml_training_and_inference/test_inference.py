import json
from pathlib import Path

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.ml_training_and_inference import inference
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.champion import keep_champion, load_champion
from workflows.ml_training_and_inference.features import FEATURE_NAMES
from workflows.ml_training_and_inference.inference import predict_passenger
from workflows.ml_training_and_inference.training import Parameters, fit
from workflows.passengers.contract import ATTRIBUTE_NAMES, parse_attributes


@pytest.fixture
def kept(tmp_path: Path, pipeline: Pipeline) -> Path:
    keep_champion(tmp_path, Version("7", "run", pipeline))
    return tmp_path


def test_the_documented_passenger(kept: Path, kim: dict[str, object]) -> None:
    answer = predict_passenger(kim, kept)
    assert json.loads(json.dumps(answer)) == answer
    assert set(answer) == {
        *("survived", "probability", "passenger", "contributions"),
        *("base_value", "missing", "unseen", "model_version"),
    }
    assert answer["passenger"] == {
        "pclass": 3,
        "_name": "Kim",
        "sex": "female",
        "age": 21.0,
        "sibsp": 0,
        "parch": 0,
        "ticket": "315037",
        "fare": 100.0,
        "cabin": "D21",
        "embarked": "S",
    }
    assert answer["survived"] == 1
    assert list(answer["contributions"]) == list(FEATURE_NAMES)
    assert answer["missing"] == []
    # The name has no title; all other values occur in the training data.
    assert answer["unseen"] == ["_name"]
    assert answer["model_version"] == "7"


def test_every_wrong_variable_is_named(kept: Path, kim: dict[str, object]) -> None:
    wrong = {"age": "abc", "pclass": "9", "fare": "-1", "sex": "x", "embarked": "Z", "sibsp": "0.5"}
    with pytest.raises(InvalidInputError) as caught:
        predict_passenger({**kim, **wrong}, kept)
    assert set(caught.value.fields) == set(wrong)


def test_no_model_yet(tmp_path: Path, kim: dict[str, object]) -> None:
    with pytest.raises(NotReadyError, match="ml_training_and_inference"):
        predict_passenger(kim, tmp_path)


def test_wrong_input_is_reported_even_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        predict_passenger({"age": "abc"}, tmp_path)


def test_two_folders_do_not_share_a_model(
    tmp_path: Path, pipeline: Pipeline, titanic: pd.DataFrame, kim: dict[str, object]
) -> None:
    other = fit(titanic[list(ATTRIBUTE_NAMES)], titanic["survived"].to_numpy(), Parameters(n_estimators=5))
    for folder, fitted in (("a", pipeline), ("b", other)):
        keep_champion(tmp_path / folder, Version("1", "run", fitted))
    answers = [predict_passenger(kim, tmp_path / folder)["probability"] for folder in ("a", "b", "a")]
    assert answers[0] == answers[2] != answers[1]


def test_parsed_attributes_give_the_same_prediction(kept: Path, kim: dict[str, object]) -> None:
    version = load_champion(kept)
    assert inference.predict_with(version, parse_attributes(kim)) == predict_passenger(kim, kept)


def test_a_batch_may_be_small_or_empty(kept: Path, titanic: pd.DataFrame) -> None:
    version = load_champion(kept)
    assert len(inference.predict_batch(version, titanic.head(1))) == 1
    empty = inference.predict_batch(version, titanic.head(0))
    assert list(empty) == ["survived", "probability", "base_value", *FEATURE_NAMES]
    assert empty.empty
