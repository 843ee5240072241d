"""Fit the survival model, a scikit-learn pipeline from passengers to probabilities."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController
from xgboost import XGBClassifier

from workflows.ml_training_and_inference.features import FEATURES, PassengerFeatures, records_of
from workflows.passengers.contract import ATTRIBUTE_NAMES

_POOLS = ThreadpoolController()


@dataclass(frozen=True)
class Parameters:
    """Parameters of a model, saved with every version.

    The defaults are those that `tuning.search_parameters` chooses for all bundled passengers. Parameters not described
    here are those of XGBoost.

    Attributes:
        alone_weight: Weight in the loss of each passenger's copy without companions (`training_rows`); the original
            has weight 1.
        stranger_weight: Weight of each passenger's copy as a stranger.
        missing_rate: Share of attributes removed from the copy as a stranger.
        seed: Seed of the rows and columns drawn for each tree, and of the removed attributes.
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
    """Return an unfitted XGBoost classifier, which handles missing values itself.

    Monotonic constraints (`Feature.direction`) ensure the known effects of sex and class. With one thread a fit takes
    about 0.1 s, and the result does not depend on the number of cores.
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
    """Augmented training data, and the transformer that computed it.

    Attributes:
        features: The transformer, fitted on the passengers.
        rows: Shape (3 * passengers, features): first the passengers, then their copies without companions, then their
            copies as strangers.
        outcomes: 0 or 1 for each row.
    """

    features: PassengerFeatures
    rows: npt.NDArray[np.float32]
    outcomes: npt.NDArray[np.int64]


def training_rows(X: pd.DataFrame, y: npt.NDArray[np.int64], parameters: Parameters) -> TrainingRows:
    """Compute the training rows of each passenger: the original, a copy without companions, and a copy as a stranger.

    A stranger has no companions, and attributes are missing at random (`hide_attributes`). In the data most companions
    are known and few attributes but age and cabin are missing, whereas callers are strangers who omit attributes. The
    copies teach the model such rows. Only passengers of the training part are copied, never held-out ones.

    Of the parameters only `missing_rate` and `seed` are used.
    """
    passengers, strangers = records_of(X), records_of(hide_attributes(X, parameters))
    features = PassengerFeatures().fit_records(passengers, y)
    alone = features.without_companions()
    rows = [features.transform_records(passengers), *map(alone.transform_records, (passengers, strangers))]
    return TrainingRows(features, np.concatenate(rows), np.tile(y, 3))


def fit(X: pd.DataFrame, y: npt.NDArray[np.int64], parameters: Parameters) -> Pipeline:
    """Fit a pipeline on passengers `X` (one row each, attribute columns) and their outcomes `y` (0 or 1).

    The same rows, parameters and library versions give exactly the same model.
    """
    return fit_rows(training_rows(X, y, parameters), parameters)


def fit_rows(training: TrainingRows, parameters: Parameters) -> Pipeline:
    """Fit the model on computed training rows; return the pipeline of feature transformer and XGBoost."""
    passengers = len(training.rows) // 3
    weights = np.repeat([1, parameters.alone_weight, parameters.stranger_weight], passengers)
    model = make_model(parameters)
    # XGBoost copies outcomes and weights with one thread per core, whatever `n_jobs` is: on busy cores this is ten
    # times slower.
    with _POOLS.limit(limits=1, user_api="openmp"):
        model.fit(training.rows, training.outcomes, sample_weight=weights / weights.mean())
    return Pipeline([("features", training.features), ("model", model)])


def hide_attributes(X: pd.DataFrame, parameters: Parameters) -> pd.DataFrame:
    """Return a copy of the passengers in which random attributes are None."""
    generator = np.random.default_rng(parameters.seed)
    hidden = generator.random((len(X), len(ATTRIBUTE_NAMES))) < parameters.missing_rate
    return X.loc[:, list(ATTRIBUTE_NAMES)].astype(object).mask(hidden, None)
