"""How good the model is on passengers it was not fitted on, beside baselines in the same folds."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from workflows.passengers import ATTRIBUTE_NAMES, TARGET
from workflows.survival.training import Parameters, fit

Outcomes = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]
MODEL = "model"


class Classifier(Protocol):
    """What can be evaluated."""

    def predict_proba(self, X: pd.DataFrame) -> npt.NDArray[Any]:
        """Return an array of shape (passengers, 2), the probability of survival last."""


class SexOnly(ClassifierMixin, BaseEstimator):
    """Predict the survival rate of the passenger's sex in the training part."""

    def fit(self, X: pd.DataFrame, y: Outcomes) -> Self:
        """Learn both rates."""
        self.classes_ = np.array([0, 1])
        self.overall_ = float(np.mean(y))
        self.rates_ = pd.Series(y).groupby(X["sex"].to_numpy()).mean().to_dict()
        return self

    def predict_proba(self, X: pd.DataFrame) -> Probabilities:
        """Return probabilities of shape (passengers, 2); a sex not seen gets the overall rate."""
        rate = X["sex"].map(self.rates_).fillna(self.overall_).to_numpy(dtype=float)
        return np.column_stack([1 - rate, rate])


# Each maps a training part to something fitted.
BASELINES: Mapping[str, Callable[[pd.DataFrame, Outcomes], Classifier]] = {
    "majority class": lambda X, y: DummyClassifier(strategy="prior").fit(X, y),
    "sex only": lambda X, y: SexOnly().fit(X, y),
}
METRICS: Mapping[str, Callable[[Outcomes, Probabilities], float]] = {
    "accuracy": lambda y, p: float(accuracy_score(y, p >= 0.5)),
    "roc_auc": lambda y, p: float(roc_auc_score(y, p)),
    "brier": lambda y, p: float(brier_score_loss(y, p)),
    "log_loss": lambda y, p: float(log_loss(y, p, labels=[0, 1])),
}


@dataclass(frozen=True)
class Evaluation:
    """Scores of every fold and what was predicted for whom.

    Args:
        scores: One row per split (`stratified`, `grouped`), classifier, repeat and fold; a column a metric.
        predictions: The model's probability for each passenger and repeat in the part left out: `split`,
            `repeat`, `row` (position in the table evaluated), `survived`, `probability`.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Mean and spread (standard deviation over the folds) of each metric per split and classifier."""
        grouped = self.scores.groupby(["split", "classifier"], sort=False)[list(METRICS)]
        means, spreads = grouped.mean(), grouped.std(ddof=0)
        columns: dict[str, Any] = {}
        for metric in METRICS:
            columns |= {metric: means[metric], f"{metric}_spread": spreads[metric]}
        return pd.DataFrame(columns).reset_index()

    def calibration(self, split: str = "stratified", bins: int = 10) -> pd.DataFrame:
        """Mean predicted probability and share of survivors in bins of equally many predictions."""
        chosen = self.predictions[self.predictions["split"] == split]
        tenth = pd.qcut(chosen["probability"].rank(method="first"), bins, labels=False)
        grouped = chosen.groupby(tenth)
        return pd.DataFrame(
            {
                "predicted": grouped["probability"].mean(),
                "survived": grouped["survived"].mean(),
                "predictions": grouped.size(),
            }
        ).reset_index(drop=True)

    def confusion(self, split: str = "stratified") -> list[list[int]]:
        """Counts over all repeats: rows are the outcomes 0 and 1, columns what was predicted."""
        chosen = self.predictions[self.predictions["split"] == split]
        counts = confusion_matrix(chosen["survived"], chosen["probability"] >= 0.5, labels=[0, 1])
        return [[int(number) for number in row] for row in counts]

    def to_dict(self) -> dict[str, Any]:
        """Everything that is kept with a version, as JSON types."""
        splits = list(dict.fromkeys(self.scores["split"]))
        return {
            "table": self.table().to_dict("records"),
            "calibration": {split: self.calibration(split).to_dict("records") for split in splits},
            "confusion": {split: self.confusion(split) for split in splits},
        }


def _folds(
    df: pd.DataFrame, folds: int, repeats: int, seed: int
) -> Iterator[tuple[str, int, int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield split, repeat, fold and the rows of both parts; in `grouped` no ticket is in both."""
    for repeat in range(repeats):
        state = seed + repeat
        stratified = StratifiedKFold(folds, shuffle=True, random_state=state)
        grouped = StratifiedGroupKFold(folds, shuffle=True, random_state=state)
        for fold, (fitted, left_out) in enumerate(stratified.split(df, df[TARGET])):
            yield "stratified", repeat, fold, fitted, left_out
        for fold, (fitted, left_out) in enumerate(grouped.split(df, df[TARGET], df["ticket"])):
            yield "grouped", repeat, fold, fitted, left_out


def evaluate(
    df: pd.DataFrame, parameters: Parameters, folds: int = 5, repeats: int = 5, workers: int = 2
) -> Evaluation:
    """Fit model and baselines on each training part, and score them on the part left out.

    Two splits: `stratified` by outcome, and `grouped`, in which passengers who share a ticket (families, mostly)
    are on one side, as the stricter figure.

    Args:
        df: One row per passenger, the canonical columns.
        parameters: Of the model; `seed` also shuffles the folds, a different one each repeat.
        folds: Parts of each split.
        repeats: Times that each split is drawn.
        workers: Threads; the result does not depend on them.
    """

    def run(part: tuple[str, int, int, Any, Any]) -> tuple[list[dict[str, Any]], pd.DataFrame]:
        split, repeat, fold, fitted, left_out = part
        X, y = df.loc[:, list(ATTRIBUTE_NAMES)], df[TARGET].to_numpy()
        classifiers: dict[str, Classifier] = {MODEL: fit(X.iloc[fitted], y[fitted], parameters)}
        for name, fit_baseline in BASELINES.items():
            classifiers[name] = fit_baseline(X.iloc[fitted], y[fitted])
        scores = []
        for name, classifier in classifiers.items():
            probability = classifier.predict_proba(X.iloc[left_out])[:, 1].astype(float)
            values = {metric: score(y[left_out], probability) for metric, score in METRICS.items()}
            scores.append({"split": split, "classifier": name, "repeat": repeat, "fold": fold, **values})
            if name == MODEL:
                predictions = pd.DataFrame(
                    {
                        "split": split,
                        "repeat": repeat,
                        "row": left_out,
                        "survived": y[left_out],
                        "probability": probability,
                    }
                )
        return scores, predictions

    with ThreadPoolExecutor(workers) as executor:
        results = list(executor.map(run, _folds(df, folds, repeats, parameters.seed)))
    return Evaluation(
        scores=pd.DataFrame([score for scores, _ in results for score in scores]),
        predictions=pd.concat([predictions for _, predictions in results], ignore_index=True),
    )
