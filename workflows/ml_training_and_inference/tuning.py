"""Search for the parameters of the model, and evaluate the search by nested cross-validation.

`make tune-model` prints the metrics of the published parameters and of the nested search. Parameters that were chosen
by cross-validation look too good in the same folds. In the nested search each training part is searched separately, so
the held-out fold does not affect the choice (Cawley and Talbot 2010). A small bias remains: features and search space
were chosen by trials on the same passengers, in other draws of the folds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline

from workflows.ml_training_and_inference.evaluation import (
    METRICS,
    MODEL,
    Evaluation,
    Outcomes,
    cross_validate,
    cross_validation_folds,
)
from workflows.ml_training_and_inference.training import Parameters, TrainingRows, fit, fit_rows, training_rows
from workflows.passengers.contract import TARGET

CANDIDATES = 20
FINALISTS = 5
INNER_FOLDS = 3
# How often the inner folds are drawn: for all candidates, and in total for the finalists.
FIRST_REPEATS, FINAL_REPEATS = 1, 3


def draw_candidates(count: int, seed: int) -> Iterator[Parameters]:
    """Draw random parameters. With the same seed, a larger `count` starts with the same candidates.

    The number of trees is limited, so that a prediction takes less than a millisecond.
    """
    generator = np.random.default_rng(seed)

    def one_of(*values: float) -> float:
        return float(generator.choice(values))

    for _ in range(count):
        learning_rate = round(float(np.exp(generator.uniform(np.log(0.025), np.log(0.08)))), 3)
        # A lower learning rate needs more trees.
        n_estimators = min(round(float(generator.uniform(4, 7)) / learning_rate), 200)
        yield Parameters(
            n_estimators=n_estimators,
            max_depth=int(one_of(4, 5, 6)),
            learning_rate=learning_rate,
            subsample=one_of(0.7, 0.8, 0.9),
            colsample_bytree=one_of(0.7, 0.8, 0.9),
            min_child_weight=one_of(3, 5, 8),
            reg_lambda=one_of(1, 2, 3),
            gamma=one_of(0, 0.3, 0.6),
            max_bin=int(one_of(32, 64)),
            alone_weight=one_of(0.5, 1),
            stranger_weight=one_of(0.3, 0.5),
        )


@dataclass(frozen=True)
class _InnerFold:
    """An inner fold: training rows, and held-out rows with their outcomes."""

    training: TrainingRows
    held_out: npt.NDArray[np.float32]
    outcomes: Outcomes

    def log_loss(self, parameters: Parameters) -> float:
        probability = fit_rows(self.training, parameters)["model"].predict_proba(self.held_out)[:, 1]
        return METRICS["log_loss"](self.outcomes, probability.astype(float))


def search_parameters(X: pd.DataFrame, y: Outcomes, count: int = CANDIDATES, seed: int = 0) -> tuple[Parameters, float]:
    """Return the parameters with the lowest mean log loss in inner folds of these passengers, and that log loss.

    All candidates are scored in the folds of the first draw, the finalists in all draws. Stratified and grouped folds
    count equally: most callers are strangers, whose companions are unknown.

    Args:
        X: Training part, one row per passenger with the attribute columns.
        y: Outcomes, 0 or 1.
        count: Number of candidates.
        seed: Seed of the candidates and the folds.
    """
    folds = []
    for fold in cross_validation_folds(X.assign(**{TARGET: y}), INNER_FOLDS, FINAL_REPEATS, seed):
        training = training_rows(X.iloc[fold.train], y[fold.train], Parameters())
        folds.append(_InnerFold(training, training.features.transform(X.iloc[fold.held_out]), y[fold.held_out]))
    first = len(folds) * FIRST_REPEATS // FINAL_REPEATS
    losses = {
        parameters: [fold.log_loss(parameters) for fold in folds[:first]] for parameters in draw_candidates(count, seed)
    }
    finalists = sorted(losses, key=lambda parameters: float(np.mean(losses[parameters])))[:FINALISTS]
    for parameters in finalists:
        losses[parameters] += [fold.log_loss(parameters) for fold in folds[first:]]
    best = min(finalists, key=lambda parameters: float(np.mean(losses[parameters])))
    return best, float(np.mean(losses[best]))


def nested_cross_validation(df: pd.DataFrame, count: int = CANDIDATES, folds: int = 5, repeats: int = 5) -> Evaluation:
    """Evaluate the search: parameters are searched in each training part, and scored on the held-out fold.

    Folds, repeats and seeds are the same as those of `evaluate`.
    """

    def search_and_fit(X: pd.DataFrame, y: Outcomes) -> Pipeline:
        parameters, _ = search_parameters(X, y, count)
        return fit(X, y, parameters)

    return cross_validate(df, {MODEL: search_and_fit}, folds=folds, repeats=repeats)
