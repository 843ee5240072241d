"""How good the model is where its parameters are searched for anew in each training part (nested cross-validation).

`make tune-model` prints what the published parameters reach, and what parameters reach that are searched for in
each training part. Parameters that were chosen by folds look too good in the same folds; in the
nested search the passengers left out have no part in the choice (Cawley and Talbot 2010). What remains: the features
and the space that is searched were chosen by trials on the same passengers, in other draws of the folds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline

from workflows.sql_python.passengers import TARGET
from workflows.survival.evaluation import METRICS, MODEL, Evaluation, Outcomes, cross_validate, cross_validation_folds
from workflows.survival.training import Parameters, TrainingRows, fit, fit_rows, training_rows

CANDIDATES = 20
FINALISTS = 5
INNER_FOLDS = 3
# Times that the inner folds are drawn: once for all candidates, and again for the finalists.
FIRST_REPEATS, FINAL_REPEATS = 1, 3


def candidates(count: int, seed: int) -> Iterator[Parameters]:
    """Draw parameters at random; the first of more candidates are the same as those of fewer.

    Trees are few enough for an answer within a millisecond.
    """
    generator = np.random.default_rng(seed)

    def one_of(*values: float) -> float:
        return float(generator.choice(values))

    for _ in range(count):
        learning_rate = round(float(np.exp(generator.uniform(np.log(0.025), np.log(0.08)))), 3)
        # Shrinkage and number of trees make up for each other.
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
    """An inner fold: rows to fit on, and rows left out with their outcomes."""

    training: TrainingRows
    rows: npt.NDArray[np.float32]
    outcomes: Outcomes

    def loss(self, parameters: Parameters) -> float:
        probability = fit_rows(self.training, parameters)["model"].predict_proba(self.rows)[:, 1]
        return METRICS["log_loss"](self.outcomes, probability.astype(float))


def search(X: pd.DataFrame, y: Outcomes, count: int = CANDIDATES, seed: int = 0) -> tuple[Parameters, float]:
    """Choose the parameters with the least log loss in folds of these passengers, and return them with it.

    All candidates are fitted in one draw of the folds, the best few in more of them. The folds are drawn both ways,
    stratified and grouped by ticket, and count alike: callers are mostly strangers, whose companions nobody knows.

    Args:
        X: Passengers, the attribute columns; none of them is one that the choice is judged on.
        y: Outcomes, 0 or 1.
        count: Candidates tried.
        seed: Of the candidates and the folds.
    """
    parts = []
    for _, _, _, fitted, left_out in cross_validation_folds(X.assign(**{TARGET: y}), INNER_FOLDS, FINAL_REPEATS, seed):
        training = training_rows(X.iloc[fitted], y[fitted], Parameters())
        parts.append(_InnerFold(training, training.features.transform(X.iloc[left_out]), y[left_out]))
    first = len(parts) * FIRST_REPEATS // FINAL_REPEATS
    losses = {parameters: [part.loss(parameters) for part in parts[:first]] for parameters in candidates(count, seed)}
    finalists = sorted(losses, key=lambda parameters: float(np.mean(losses[parameters])))[:FINALISTS]
    for parameters in finalists:
        losses[parameters] += [part.loss(parameters) for part in parts[first:]]
    best = min(finalists, key=lambda parameters: float(np.mean(losses[parameters])))
    return best, float(np.mean(losses[best]))


def nested_cross_validation(df: pd.DataFrame, count: int = CANDIDATES, folds: int = 5, repeats: int = 5) -> Evaluation:
    """Judge the search: it runs in each training part alone, and what it chose is scored on the part left out.

    Folds, repeats and seeds are those of `evaluate`.
    """

    def search_and_fit(X: pd.DataFrame, y: Outcomes) -> Pipeline:
        parameters, _ = search(X, y, count)
        return fit(X, y, parameters)

    return cross_validate(df, {MODEL: search_and_fit}, folds=folds, repeats=repeats)
