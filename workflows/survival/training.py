"""Fit the survival model: one scikit-learn pipeline from passengers to probabilities."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline
from xgboost import XGBClassifier

from workflows.passengers import ATTRIBUTE_NAMES
from workflows.survival.features import FEATURES, PassengerFeatures


@dataclass(frozen=True)
class Parameters:
    """What a model is fitted with; kept with every version.

    Args:
        missing_rate: Share of attributes taken away from the copy of each passenger (`with_strangers`).
        stranger_weight: Weight of that copy in the loss, beside 1 of the passenger.
        seed: Of rows and columns drawn for each tree, and of the attributes taken away.
    """

    n_estimators: int = 100
    max_depth: int = 5
    learning_rate: float = 0.05
    subsample: float = 0.8
    colsample_bytree: float = 0.7
    min_child_weight: float = 3
    reg_lambda: float = 2
    max_bin: int = 64
    missing_rate: float = 0.3
    stranger_weight: float = 0.5
    seed: int = 0


def make_pipeline(parameters: Parameters) -> Pipeline:
    """Return the unfitted pipeline: features, then XGBoost, which takes missing values as they are.

    Directions that are beyond doubt (women, better classes) are held by monotonic constraints. One thread:
    a fit takes about 0.1 s, and the result does not depend on the machine's number of cores.
    """
    model = XGBClassifier(
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
        max_bin=parameters.max_bin,
        random_state=parameters.seed,
        monotone_constraints=tuple(feature.direction for feature in FEATURES.values()),
    )
    return Pipeline([("features", PassengerFeatures()), ("model", model)])


def with_strangers(
    X: pd.DataFrame, y: npt.NDArray[np.int64], parameters: Parameters
) -> tuple[pd.DataFrame, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Add a copy of each passenger of whom less is known: no ticket, and other attributes missing at random.

    Callers leave attributes out that are never missing in the data, and share no ticket with anybody in it.
    Without the copies the model would answer those with whatever branch a tree has left over. The copies are
    made of the training part only, never of passengers that a model is judged on.

    Returns:
        Passengers, outcomes and weights, the copies last; weights have mean 1.
    """
    generator = np.random.default_rng(parameters.seed)
    hidden = pd.DataFrame(
        generator.random((len(X), len(ATTRIBUTE_NAMES))) < parameters.missing_rate,
        columns=list(ATTRIBUTE_NAMES),
        index=X.index,
    ).assign(ticket=True)
    known = X.loc[:, list(ATTRIBUTE_NAMES)].astype(object)
    strangers = known.mask(hidden, None)
    weights = np.r_[np.ones(len(X)), np.full(len(X), parameters.stranger_weight)]
    both = pd.concat([known, strangers], ignore_index=True)
    return both, np.r_[y, y], weights / weights.mean()


def fit(X: pd.DataFrame, y: npt.NDArray[np.int64], parameters: Parameters) -> Pipeline:
    """Fit a new pipeline on passengers `X` (attribute columns, one row each) and outcomes `y` (0 or 1).

    The same rows, parameters and library versions give the same model, bit for bit.
    """
    more, outcomes, weights = with_strangers(X, y, parameters)
    return make_pipeline(parameters).fit(more, outcomes, model__sample_weight=weights)
