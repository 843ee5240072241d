"""Training and serving use the same features, contributions add up, and the same data give the same bytes."""

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mage_server.callable_blocks import PASSENGER_EXAMPLE
from workflows.common.settings import REPO_PATH
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.features import FEATURE_NAMES
from workflows.ml_training_and_inference.inference import predict_batch
from workflows.passengers.contract import ATTRIBUTE_NAMES, as_frame, parse_attributes

Answer = dict[str, Any]
Ask = Callable[[Mapping[str, object]], Answer]

STRANGERS: tuple[dict[str, object], ...] = (
    {},
    {**PASSENGER_EXAMPLE},
    {"sex": "female"},
    {"ticket": "CA. 2343"},
    {"_name": "X, Rev. Y", "age": "119", "sibsp": "20", "parch": "20", "fare": "99999", "cabin": "Z", "ticket": "new"},
    {**PASSENGER_EXAMPLE, "age": "0", "fare": "0", "ticket": "9" * 400},
)


def test_training_and_serving_see_the_same_features(
    xgboost_rows: np.ndarray, version: Version, callers: list[dict[str, object]]
) -> None:
    """The first training rows of XGBoost are the features computed from a caller's text."""
    features = version.pipeline["features"]
    served = np.array([features.row(parse_attributes(caller)) for caller in callers], dtype=np.float32)
    assert served.shape == (891, len(FEATURE_NAMES))
    np.testing.assert_array_equal(served, xgboost_rows[:891])
    # Each feature varies, so that equality is not trivial.
    assert (np.array([len(np.unique(column[~np.isnan(column)])) for column in served.T]) > 1).all()


def test_contributions_add_up_to_the_prediction(
    answers: list[Answer], version: Version, titanic: pd.DataFrame, ask: Ask
) -> None:
    strangers = [ask(stranger) for stranger in STRANGERS]
    table = pd.concat([titanic[list(ATTRIBUTE_NAMES)], as_frame(answer["passenger"] for answer in strangers)])
    # Predicted without contributions.
    expected = version.pipeline.predict_proba(table)[:, 1]
    for answer, probability in zip([*answers, *strangers], expected, strict=True):
        assert tuple(answer["contributions"]) == FEATURE_NAMES
        log_odds = math.log(answer["probability"] / (1 - answer["probability"]))
        assert answer["base_value"] + sum(answer["contributions"].values()) == pytest.approx(log_odds, abs=1e-9)
        assert answer["probability"] == pytest.approx(float(probability), abs=1e-6)
    assert {answer["base_value"] for answer in answers} == {strangers[0]["base_value"]}


def test_a_batch_gives_the_same_numbers_as_one_by_one(
    answers: list[Answer], version: Version, titanic: pd.DataFrame, ask: Ask
) -> None:
    strangers = [ask(stranger) for stranger in STRANGERS]
    known = titanic[list(ATTRIBUTE_NAMES)]
    table = pd.concat([known, as_frame(answer["passenger"] for answer in strangers)], ignore_index=True)
    numbers = [
        {name: answer[name] for name in ("survived", "probability", "base_value")} | answer["contributions"]
        for answer in [*answers, *strangers]
    ]
    assert predict_batch(version, table).to_dict("records") == numbers


def test_the_documented_call(version: Version, ask: Ask) -> None:
    """All values are text, as in the documentation of the block."""
    assert all(isinstance(value, str) for value in PASSENGER_EXAMPLE.values())
    answer = ask(PASSENGER_EXAMPLE)
    assert answer["passenger"] == parse_attributes(PASSENGER_EXAMPLE)
    assert (answer["missing"], answer["unseen"]) == ([], ["_name"])
    assert answer["survived"] == 1
    assert answer["model_version"] == version.name


PREDICT = """
import hashlib, sys
from workflows.passengers.files import load_passengers
from workflows.passengers.contract import ATTRIBUTE_NAMES
from workflows.ml_training_and_inference.inference import predict_batch
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.training import Parameters, fit
df = load_passengers(sys.argv[1])
pipeline = fit(df[list(ATTRIBUTE_NAMES)], df["survived"].to_numpy(), Parameters())
sys.stdout.write(hashlib.sha256(predict_batch(Version("", "", pipeline), df).to_numpy().tobytes()).hexdigest())
"""


def test_another_process_fits_and_predicts_the_same_bytes(version: Version, titanic: pd.DataFrame) -> None:
    """The other process has another hash seed and another number of threads."""
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(REPO_PATH / "data" / "titanic.csv")],
        cwd=REPO_PATH,
        env={**os.environ, "PYTHONHASHSEED": "20", "OMP_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    own = predict_batch(version, titanic).to_numpy().tobytes()
    assert len(own) == 891 * (len(FEATURE_NAMES) + 3) * 8
    assert done.stdout == hashlib.sha256(own).hexdigest()
