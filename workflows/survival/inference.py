"""Predictions with exact contributions of the features, for one passenger and for batches."""

import logging
import math
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost as xgb

from workflows.common.errors import NotReadyError
from workflows.sql_python.passengers import ATTRIBUTE_BY_PLAIN_NAME, Value, parse_attributes, plain_name
from workflows.survival.features import FEATURE_NAMES
from workflows.survival.registry import METADATA_FILE, MODEL_FILE, POINTER_FILE, Version, serving_version, version_names

logger = logging.getLogger(__name__)

# Path of the models folder, and path, modification time, inode and size of its files.
_FolderState = tuple[str, tuple[tuple[str, int, int, int], ...]]
# State of the folder when it was read, and the serving version or the reason why there is none.
_cache: tuple[_FolderState, Version | str] | None = None
_loading_lock = threading.Lock()


def predict_passenger(variables: Mapping[str, object], models_dir: Path) -> dict[str, Any]:
    """Predict whether one passenger survives, with the serving version.

    Args:
        variables: The ten attributes `pclass, _name, sex, age, sibsp, parch, ticket, fare, cabin, embarked`, as text or
            numbers; absent, None or empty means missing. Other names are ignored.
        models_dir: Folder of the versions; a promoted version is used from the next call on.

    Returns:
        JSON types: `survived` (0 or 1); `probability`; `passenger`, the parsed attributes; `contributions` of each
        feature in log-odds (exact TreeSHAP, Lundberg et al. 2020), whose sum plus `base_value` is the log-odds of
        `probability`; `missing`, attributes without a value; `unseen`, attributes whose value did not occur in the
        training data; `model_version`.

    Raises:
        InvalidInputError: `.fields` names every wrong attribute.
        NotReadyError: there is no usable version.
    """
    # Parse first: wrong input is reported even if there is no model.
    passenger = parse_attributes(variables)
    return predict_with(_cached_version(models_dir), passenger)


def passenger_of_run(given: Mapping[str, object], variables: Mapping[str, object]) -> Mapping[str, object]:
    """Return the variables that describe the passenger of a run.

    Args:
        given: Variables that the run was started with.
        variables: All variables of the run, those of the pipeline included: an example, which serves only where none
            of the attributes is given, so that nobody gets a part of it.
    """
    return given if any(plain_name(name) in ATTRIBUTE_BY_PLAIN_NAME for name in given) else variables


def load_model(models_dir: Path) -> Version:
    """Return the serving version; load it unless it is cached.

    Raises:
        NotReadyError: there is no usable version.
    """
    return _cached_version(models_dir)


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


def _cached_version(models_dir: Path) -> Version:
    """Return the serving version; read from disk only if the folder has changed since the last call."""
    global _cache  # noqa: PLW0603
    state = _folder_state(models_dir)
    cached = _cache
    if cached is None or cached[0] != state:
        with _loading_lock:
            if _cache is None or _cache[0] != state:
                _cache = (state, _load_serving_version(models_dir))
            cached = _cache
    if isinstance(cached[1], str):
        # Raise a new error each time: one that is raised again accumulates the tracebacks of all callers.
        raise NotReadyError(cached[1])
    return cached[1]


def _load_serving_version(models_dir: Path) -> Version | str:
    """Return the serving version, or the reason why there is none."""
    try:
        version = serving_version(models_dir)
    except NotReadyError as error:
        return str(error)
    logger.info("model version %s serves", version.name)
    return version


def _folder_state(models_dir: Path) -> _FolderState:
    """Return the state of all versions and of `serving.json`, so that a repaired or damaged file is noticed."""
    names = version_names(models_dir)
    files = [f"{name}/{file}" for name in names for file in (MODEL_FILE, METADATA_FILE)]
    stamps = []
    for path in (POINTER_FILE, *names, *files):
        try:
            # Faster than joining paths; every prediction does this.
            stat = os.stat(f"{models_dir}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        # With the inode, because the pointer may be replaced twice within one tick of the clock.
        stamps.append((path, stat.st_mtime_ns, stat.st_ino, stat.st_size))
    return str(models_dir), tuple(stamps)
