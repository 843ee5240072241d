"""Fit the survival model: one scikit-learn pipeline from passengers to probabilities."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController
from xgboost import XGBClassifier

from workflows.sql_python.passengers import ATTRIBUTE_NAMES
from workflows.survival.features import FEATURES, PassengerFeatures

_POOLS = ThreadpoolController()


@dataclass(frozen=True)
class Parameters:
    """What a model is fitted with; kept with every version.

    The defaults are what `tuning.search` chooses for all bundled passengers.

    Args:
        alone_weight: Weight in the loss of each passenger's copy without companions, beside 1 of the passenger
            (`training_rows`).
        stranger_weight: Weight of the copy of whom less is known.
        missing_rate: Share of attributes taken away from that copy.
        seed: Of rows and columns drawn for each tree, and of the attributes taken away.
    """

    n_estimators: int = 97
    max_depth: int = 5
    learning_rate: float = 0.058
    subsample: float = 0.8
    colsample_bytree: float = 0.9
    min_child_weight: float = 3
    reg_lambda: float = 3
    gamma: float = 0.6
    max_bin: int = 32
    alone_weight: float = 0.5
    stranger_weight: float = 0.5
    missing_rate: float = 0.3
    seed: int = 0


def make_model(parameters: Parameters) -> XGBClassifier:
    """Return the unfitted XGBoost, which takes missing values as they are.

    Directions that are beyond doubt (women, better classes) are held by monotonic constraints. One thread:
    a fit takes about 0.1 s, and the result does not depend on the machine's number of cores.
    """
    return XGBClassifier(
        objective="binary:logistic",
        tree_method="hist",
        n_jobs=1,
        n_estimators=parameters.n_estimators,
        max_depth=parameters.max_depth,
        learning_rate=parameters.learning_rate,
        subsample=parameters.subsample,
        colsample_bytree=parameters.colsample_bytree,
        min_child_weight=parameters.min_child_weight,
        reg_lambda=parameters.reg_lambda,
        gamma=parameters.gamma,
        max_bin=parameters.max_bin,
        random_state=parameters.seed,
        monotone_constraints=tuple(feature.direction for feature in FEATURES.values()),
    )


@dataclass(frozen=True)
class TrainingRows:
    """What the model is fitted on, and how it was made.

    Args:
        features: Fitted on the passengers.
        rows: Of shape (3 * passengers, features): all as known, all without companions, all as strangers.
        outcomes: 0 or 1, one a row.
    """

    features: PassengerFeatures
    rows: npt.NDArray[np.float32]
    outcomes: npt.NDArray[np.int64]


def training_rows(X: pd.DataFrame, y: npt.NDArray[np.int64], parameters: Parameters) -> TrainingRows:
    """Show each passenger three times: as known, without companions, and as a stranger.

    A stranger is without companions and with attributes missing at random (`hide_attributes`). In the data most
    companions are known, and hardly an attribute but age and cabin is missing; callers are strangers who leave
    things out. Without the copies the model would answer them with whatever branch a tree has left over. The
    copies are made of the training part only, never of passengers that a model is judged on.

    Only `missing_rate` and `seed` of the parameters matter here.
    """
    features = PassengerFeatures().fit(X, y)
    nobody = features.without_companions()
    rows = [features.transform(X), nobody.transform(X), nobody.transform(hide_attributes(X, parameters))]
    return TrainingRows(features, np.concatenate(rows), np.tile(y, 3))


def fit(X: pd.DataFrame, y: npt.NDArray[np.int64], parameters: Parameters) -> Pipeline:
    """Fit a new pipeline on passengers `X` (attribute columns, one row each) and outcomes `y` (0 or 1).

    The same rows, parameters and library versions give the same model, bit for bit.
    """
    return fit_rows(training_rows(X, y, parameters), parameters)


def fit_rows(training: TrainingRows, parameters: Parameters) -> Pipeline:
    """Fit the model on rows made before, and return the pipeline: features, then XGBoost."""
    passengers = len(training.rows) // 3
    weights = np.repeat([1, parameters.alone_weight, parameters.stranger_weight], passengers)
    model = make_model(parameters)
    # XGBoost takes outcomes and weights over with as many threads as there are cores, whatever `n_jobs` says:
    # ten times slower where the cores are busy.
    with _POOLS.limit(limits=1, user_api="openmp"):
        model.fit(training.rows, training.outcomes, sample_weight=weights / weights.mean())
    return Pipeline([("features", training.features), ("model", model)])


def hide_attributes(X: pd.DataFrame, parameters: Parameters) -> pd.DataFrame:
    """Return a copy of the passengers with attributes taken away at random, None in their place."""
    generator = np.random.default_rng(parameters.seed)
    hidden = generator.random((len(X), len(ATTRIBUTE_NAMES))) < parameters.missing_rate
    return X.loc[:, list(ATTRIBUTE_NAMES)].astype(object).mask(hidden, None)
