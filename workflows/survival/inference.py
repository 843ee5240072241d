"""Predictions with their exact explanation, one at a time and in batches."""

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
from workflows.sql_python.passengers import Value, parse_attributes
from workflows.survival.features import FEATURE_NAMES
from workflows.survival.registry import METADATA_FILE, MODEL_FILE, POINTER_FILE, Version, serving_version, version_names

logger = logging.getLogger(__name__)

# What the folder of models looked like, and what it gave to serve.
_Listing = tuple[str, tuple[tuple[str, int, int, int], ...]]
# In place of a version the reason why none can serve.
_cache: tuple[_Listing, Version | str] | None = None
_loading = threading.Lock()


def predict_passenger(variables: Mapping[str, object], models_dir: Path) -> dict[str, Any]:
    """Predict whether one passenger survives, from the version of the model that serves.

    Args:
        variables: The ten attributes `pclass, _name, sex, age, sibsp, parch, ticket, fare, cabin, embarked`, as text or
            numbers; left out, None or empty means missing. Other names are ignored.
        models_dir: Folder of the versions; a version promoted is used from the next call on.

    Returns:
        JSON types. `survived` 0 or 1 and `probability`; `passenger`, the attributes as understood;
        `contributions`, log-odds of each feature (TreeSHAP, exact: Lundberg et al. 2020) which add up with
        `base_value` to the log-odds of `probability`; `missing`, attributes without a value; `unseen`,
        attributes whose value the model learned nothing about; `model_version`.

    Raises:
        InvalidInputError: `.fields` names every wrong attribute.
        NotReadyError: no model was trained yet.
    """
    # Wrong input is said first: it needs no model.
    passenger = parse_attributes(variables)
    return predict_with(_serving(models_dir), passenger)


def load_model(models_dir: Path) -> Version:
    """Return the version that serves, loaded where that is not done yet.

    Raises:
        NotReadyError: no model was trained yet.
    """
    return _serving(models_dir)


def predict_with(version: Version, passenger: Mapping[str, Value]) -> dict[str, Any]:
    """Predict with a given version; see `predict_passenger`, with the attributes parsed already."""
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
    """Predict many passengers with a given version: the same numbers as `predict_with` one by one.

    Args:
        version: What to predict with.
        df: One row per passenger, the attribute columns, parsed, NaN or None where missing.
        workers: Threads; nearly all of the time goes into the contributions.

    Returns:
        A table with the index of `df`: `survived`, `probability`, `base_value`, and the contribution of each feature
        by its name.
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
    """Return the log-odds of each feature and, last, the base value, a list for each row."""
    matrix = xgb.DMatrix(rows, nthread=1)
    contributions = version.pipeline["model"].get_booster().predict(matrix, pred_contribs=True)
    return contributions.astype(float).tolist()


def _probability(contributions: list[float], base_value: float) -> float:
    # The contributions add up to the prediction, so one pass through the trees gives both.
    return 1 / (1 + math.exp(-(base_value + sum(contributions))))


def _serving(models_dir: Path) -> Version:
    """Return the version to use; read from disk only where the folder has changed since, also where none can serve."""
    global _cache  # noqa: PLW0603
    listing = _list(models_dir)
    cached = _cache
    if cached is None or cached[0] != listing:
        with _loading:
            if _cache is None or _cache[0] != listing:
                _cache = (listing, _load_serving(models_dir))
            cached = _cache
    if isinstance(cached[1], str):
        # A new error each time: one that is raised again collects the frames of all who met it.
        raise NotReadyError(cached[1])
    return cached[1]


def _load_serving(models_dir: Path) -> Version | str:
    """Read the version that serves, or say why there is none."""
    try:
        version = serving_version(models_dir)
    except NotReadyError as error:
        return str(error)
    logger.info("model version %s serves", version.name)
    return version


def _list(models_dir: Path) -> _Listing:
    """Versions with their files and the pointer, as they were last changed: what is repaired or damaged is noticed."""
    names = version_names(models_dir)
    files = [f"{name}/{file}" for name in names for file in (MODEL_FILE, METADATA_FILE)]
    stamps = []
    for path in (POINTER_FILE, *names, *files):
        try:
            # Joined as text, which is faster, as every prediction does it.
            stat = os.stat(f"{models_dir}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        # The pointer is replaced as a whole, perhaps twice within one tick of the clock.
        stamps.append((path, stat.st_mtime_ns, stat.st_ino, stat.st_size))
    return str(models_dir), tuple(stamps)
