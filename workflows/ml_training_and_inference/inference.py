"""Predictions with exact contributions of the features, for one passenger and for batches."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost as xgb

from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.champion import load_champion
from workflows.ml_training_and_inference.features import FEATURE_NAMES
from workflows.passengers.contract import ATTRIBUTE_BY_PLAIN_NAME, Value, parse_attributes, plain_name


def predict_passenger(variables: Mapping[str, object], models_dir: Path) -> dict[str, Any]:
    """Predict whether one passenger survives, with the champion.

    Args:
        variables: The ten attributes `pclass, _name, sex, age, sibsp, parch, ticket, fare, cabin, embarked`, as text or
            numbers; absent, None or empty means missing. Other names are ignored.
        models_dir: Folder of the kept champion; a new one is used from the next call on.

    Returns:
        JSON types: `survived` (0 or 1); `probability`; `passenger`, the parsed attributes; `contributions` of each
        feature in log-odds (exact TreeSHAP, Lundberg et al. 2020), whose sum plus `base_value` is the log-odds of
        `probability`; `missing`, attributes without a value; `unseen`, attributes whose value did not occur in the
        training data; `model_version`.

    Raises:
        InvalidInputError: `.fields` names every wrong attribute.
        NotReadyError: there is no champion that can be used.
    """
    # Parse first: wrong input is reported even if there is no model.
    passenger = parse_attributes(variables)
    return predict_with(load_champion(models_dir), passenger)


def passenger_of_run(given: Mapping[str, object], variables: Mapping[str, object]) -> Mapping[str, object]:
    """Return the variables that describe the passenger of a run.

    Args:
        given: Variables that the run was started with.
        variables: All variables of the run, those of the pipeline included: an example, which serves only where none
            of the attributes is given, so that nobody gets a part of it.
    """
    return given if any(plain_name(name) in ATTRIBUTE_BY_PLAIN_NAME for name in given) else variables


def predict_with(version: Version, passenger: Mapping[str, Value]) -> dict[str, Any]:
    """Predict a passenger with a given version; `passenger` holds parsed attributes. Returns as `predict_passenger`."""
    features = version.pipeline["features"]
    row = np.array([features.row(passenger)], dtype=np.float32)
    *contributions, base_value = _contributions(version, row)[0]
    probability = _probability(contributions, base_value)
    return {
        "survived": int(probability >= 0.5),
        "probability": probability,
        "passenger": dict(passenger),
        "contributions": dict(zip(FEATURE_NAMES, contributions, strict=True)),
        "base_value": base_value,
        "missing": [name for name, value in passenger.items() if value is None],
        "unseen": features.unseen(passenger),
        "model_version": version.name,
    }


def predict_batch(version: Version, df: pd.DataFrame, workers: int = 2) -> pd.DataFrame:
    """Predict many passengers with a given version, with the same results as `predict_with`.

    Args:
        version: The version.
        df: One row per passenger with the parsed attribute columns; NaN or None means missing.
        workers: Number of threads that compute contributions, which takes most of the time.

    Returns:
        A table with the index of `df`: `survived`, `probability`, `base_value`, and a column of contributions for each
        feature.
    """
    rows = version.pipeline["features"].transform(df)
    parts = [part for part in np.array_split(rows, workers) if len(part)]
    with ThreadPoolExecutor(workers) as executor:
        explained = [row for part in executor.map(lambda part: _contributions(version, part), parts) for row in part]
    table = pd.DataFrame(explained, columns=[*FEATURE_NAMES, "base_value"], index=df.index, dtype=float)
    probability = np.array([_probability(contributions, base) for *contributions, base in explained], dtype=float)
    table.insert(0, "survived", (probability >= 0.5).astype(np.int64))
    table.insert(1, "probability", probability)
    table.insert(2, "base_value", table.pop("base_value"))
    return table


def _contributions(version: Version, rows: npt.NDArray[np.float32]) -> list[list[float]]:
    """Return for each row the contributions of the features in log-odds, and the base value as last element."""
    matrix = xgb.DMatrix(rows, nthread=1)
    contributions = version.pipeline["model"].get_booster().predict(matrix, pred_contribs=True)
    return contributions.astype(float).tolist()


def _probability(contributions: list[float], base_value: float) -> float:
    # The contributions add up to the prediction, so the trees are evaluated once for both.
    return 1 / (1 + math.exp(-(base_value + sum(contributions))))
