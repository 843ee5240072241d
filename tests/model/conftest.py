"""A model fitted once per session on the bundled passengers, kept and loaded as the champion."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from xgboost import XGBClassifier

from workflows.common.settings import REPO_PATH
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.champion import keep_champion, load_champion
from workflows.ml_training_and_inference.inference import predict_batch, predict_passenger
from workflows.ml_training_and_inference.training import Parameters, fit
from workflows.passengers.contract import ATTRIBUTE_NAMES, ATTRIBUTES
from workflows.passengers.files import load_passengers

CSV = REPO_PATH / "data" / "titanic.csv"
Answer = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A folder with the champion, and the rows that XGBoost was fitted on."""

    models_dir: Path
    xgboost_rows: np.ndarray


@pytest.fixture(scope="session")
def titanic() -> pd.DataFrame:
    return load_passengers(str(CSV))


@pytest.fixture(scope="session")
def callers() -> list[dict[str, object]]:
    """The passengers as callers send them: the text of the CSV, empty if missing."""
    with CSV.open(encoding="utf-8", newline="") as file:
        return [{column.name: row[column.csv_name] for column in ATTRIBUTES} for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def trained(titanic: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    rows: list[np.ndarray] = []
    fit_xgboost = XGBClassifier.fit

    def spy(model: XGBClassifier, X: np.ndarray, *args: object, **kwargs: object) -> XGBClassifier:
        rows.append(np.array(X))
        return fit_xgboost(model, X, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(XGBClassifier, "fit", spy)
        pipeline = fit(titanic[list(ATTRIBUTE_NAMES)], titanic["survived"].to_numpy(), Parameters())
    folder = tmp_path_factory.mktemp("models")
    keep_champion(folder, Version("1", "run", pipeline))
    return Trained(folder, np.concatenate(rows))


@pytest.fixture(scope="session")
def xgboost_rows(trained: Trained) -> np.ndarray:
    return trained.xgboost_rows


@pytest.fixture(scope="session")
def version(trained: Trained) -> Version:
    return load_champion(trained.models_dir)


@pytest.fixture(scope="session")
def ask(trained: Trained) -> Callable[[Mapping[str, object]], Answer]:
    """Return the function that predicts the passenger of a caller."""
    return lambda variables: predict_passenger(variables, trained.models_dir)


@pytest.fixture(scope="session")
def answers(callers: list[dict[str, object]], ask: Callable[[Mapping[str, object]], Answer]) -> list[Answer]:
    """The prediction of each passenger of the training data."""
    return [ask(caller) for caller in callers]


@pytest.fixture(scope="session")
def probabilities(version: Version) -> Callable[[pd.DataFrame], np.ndarray]:
    """Return the function that predicts a table of passengers."""
    return lambda df: predict_batch(version, df)["probability"].to_numpy()
