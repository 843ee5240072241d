"""Repeated cross-validation of the model and of baselines in the same folds."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from workflows.common.parallel import map_in_processes
from workflows.ml_training_and_inference.features import deck_of, title_of
from workflows.ml_training_and_inference.training import Parameters, fit
from workflows.passengers.contract import ATTRIBUTE_NAMES, TARGET, travel_groups

Outcomes = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]
MODEL = "model"
EVALUATION_FILES = {"scores": "evaluation/scores.csv", "predictions": "evaluation/predictions.csv"}
CALIBRATION_BINS = 10
ROC_POINTS = 51
# Distance from 0 and 1 to which probabilities are clipped, so that their log-odds are finite.
_EPSILON = 1e-9
# Smallest probability of an outcome in the log loss, as in scikit-learn.
_SMALLEST = float(np.finfo(np.float64).eps)


class Classifier(Protocol):
    """A fitted classifier."""

    def predict_proba(self, X: pd.DataFrame) -> npt.NDArray[Any]:
        """Return probabilities of shape (passengers, 2); the second column is survival."""


Fit = Callable[[pd.DataFrame, Outcomes], Classifier]


class SexOnly(ClassifierMixin, BaseEstimator):
    """Baseline: predict the survival rate of the passenger's sex in the training part."""

    def fit(self, X: pd.DataFrame, y: Outcomes) -> Self:
        """Learn the survival rate of each sex."""
        self.classes_ = np.array([0, 1])
        self.overall_ = float(np.mean(y))
        self.rates_ = pd.Series(y).groupby(X["sex"].to_numpy()).mean().to_dict()
        return self

    def predict_proba(self, X: pd.DataFrame) -> Probabilities:
        """Return probabilities of shape (passengers, 2); an unknown sex gets the overall rate."""
        rate = X["sex"].map(self.rates_).fillna(self.overall_).to_numpy(dtype=float)
        return np.column_stack([1 - rate, rate])


def _titles_and_decks(X: pd.DataFrame) -> pd.DataFrame:
    """Return title and deck from name and cabin; missing ones are empty text."""
    title = X["_name"].map(lambda name: title_of(str(name)), na_action="ignore")
    deck = X["cabin"].map(lambda cabin: deck_of(str(cabin)), na_action="ignore")
    return pd.DataFrame({"title": title, "deck": deck}).fillna("").astype(str)


def _logistic_regression() -> Pipeline:
    """Baseline: logistic regression on every attribute but the ticket, with the usual encoding."""

    def numbers(*steps: BaseEstimator) -> Pipeline:
        return make_pipeline(*steps, SimpleImputer(strategy="median", add_indicator=True), StandardScaler())

    def categories(*steps: BaseEstimator) -> Pipeline:
        # A missing value is a category of its own, and a value that was not seen is none.
        return make_pipeline(*steps, OneHotEncoder(handle_unknown="ignore"))

    encoded: ColumnTransformer = make_column_transformer(
        (numbers(), ["age", "sibsp", "parch"]),
        (numbers(FunctionTransformer(np.log1p)), ["fare"]),
        (categories(), ["pclass", "sex", "embarked"]),
        (categories(FunctionTransformer(_titles_and_decks)), ["_name", "cabin"]),
    )
    return make_pipeline(encoded, LogisticRegression(max_iter=1000))


# Each function fits a classifier on a training part, with its imputation and encoding.
BASELINES: Mapping[str, Fit] = {
    "majority class": lambda X, y: DummyClassifier(strategy="prior").fit(X, y),
    "sex only": lambda X, y: SexOnly().fit(X, y),
    "logistic regression": lambda X, y: _logistic_regression().fit(X, y),
}
METRICS: Mapping[str, Callable[[Outcomes, Probabilities], float]] = {
    "accuracy": lambda y, p: float(np.mean((p >= 0.5) == y)),
    "roc_auc": lambda y, p: float(roc_auc_score(y, p)),
    # scikit-learn's functions take 2 ms for their checks, a thousand times in an evaluation.
    "brier": lambda y, p: float(np.mean((p - y) ** 2)),
    "log_loss": lambda y, p: float(-np.mean(np.log(np.clip(np.where(y == 1, p, 1 - p), _SMALLEST, 1)))),
}


def log_odds(probability: npt.ArrayLike) -> Probabilities:
    """Return the log-odds of probabilities; they are finite for 0 and 1, too."""
    p = np.clip(np.asarray(probability, dtype=float), _EPSILON, 1 - _EPSILON)
    return np.log(p / (1 - p))


def fit_calibration_line(predicted: Probabilities, y: Outcomes) -> tuple[float, float]:
    """Return slope and intercept of a logistic regression of the outcomes on the predicted log-odds."""
    # A very small penalty keeps the slope finite if the predictions separate the outcomes.
    line = LogisticRegression(C=1e4).fit(predicted.reshape(-1, 1), y)
    return float(line.coef_[0, 0]), float(line.intercept_[0])


@dataclass(frozen=True)
class Evaluation:
    """Scores of every fold, and held-out predictions.

    Attributes:
        scores: One row per split (`stratified`, `grouped`), classifier, repeat and fold, with a column per metric.
        predictions: The model's held-out prediction for each passenger and repeat: `split`, `repeat`, `row` (position
            in the evaluated table), `survived`, `probability`.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Return mean and spread (standard deviation over the folds) of each metric per split and classifier."""
        grouped = self.scores.groupby(["split", "classifier"], sort=False)[list(METRICS)]
        means, spreads = grouped.mean(), grouped.std(ddof=0)
        columns: dict[str, Any] = {}
        for metric in METRICS:
            columns |= {metric: means[metric], f"{metric}_spread": spreads[metric]}
        return pd.DataFrame(columns).reset_index()

    def calibration(self, split: str = "stratified") -> pd.DataFrame:
        """Return mean predicted probability and share of survivors in bins with equal numbers of predictions.

        Returns:
            One row per bin, lowest probabilities first: `predicted`, `survived`, `survived_spread` over the repeats,
            and `predictions`, their number in all repeats. The repeats use different folds of the same passengers, so
            the spread is that of the procedure, not of another sample.
        """
        binned = pd.concat(self._repeats(split))
        grouped = binned.groupby("bin")
        shares = binned.groupby(["bin", "repeat"])["survived"].mean().groupby("bin")
        return pd.DataFrame(
            {
                "predicted": grouped["probability"].mean(),
                "survived": grouped["survived"].mean(),
                "survived_spread": shares.std(ddof=0),
                "predictions": grouped.size(),
            }
        ).reset_index(drop=True)

    def roc(self, split: str = "stratified") -> pd.DataFrame:
        """Return the ROC curve: mean and spread over the repeats at `ROC_POINTS` false positive rates."""
        grid = np.linspace(0, 1, ROC_POINTS)
        rates = []
        for repeat in self._repeats(split):
            false_positive, true_positive, _ = roc_curve(repeat["survived"], repeat["probability"])
            # The curve may rise vertically at 0, where interpolation would not start at (0, 0).
            rates.append(np.r_[0, np.interp(grid[1:], false_positive, true_positive)])
        return pd.DataFrame(
            {
                "false_positive_rate": grid,
                "true_positive_rate": np.mean(rates, axis=0),
                "true_positive_rate_spread": np.std(rates, axis=0),
            }
        )

    def calibration_summary(self, split: str = "stratified") -> dict[str, float]:
        """Return three measures of calibration, mean and spread over the repeats.

        `expected_calibration_error` is the mean distance between predicted and observed share over the bins of
        `calibration`; with 90 passengers per bin it is about 0.03 even for correct probabilities. `slope` and
        `intercept` are those of the observed over the predicted log-odds (Cox 1958): 1 and 0 for calibrated
        predictions, a slope below 1 for predictions that are too extreme.
        """
        figures: list[dict[str, float]] = []
        for repeat in self._repeats(split):
            bins = repeat.groupby("bin")
            distance = (bins["probability"].mean() - bins["survived"].mean()).abs()
            slope, intercept = fit_calibration_line(log_odds(repeat["probability"]), repeat["survived"].to_numpy())
            error = float((distance * bins.size()).sum() / len(repeat))
            figures.append({"expected_calibration_error": error, "slope": slope, "intercept": intercept})
        means, spreads = pd.DataFrame(figures).mean(), pd.DataFrame(figures).std(ddof=0)
        return {
            key: float(number)
            for name in means.index
            for key, number in ((name, means[name]), (f"{name}_spread", spreads[name]))
        }

    def folds_of(self, classifier: str) -> pd.DataFrame:
        """Return the scores of a classifier, ordered by repeat and fold."""
        return self.scores[self.scores["classifier"] == classifier].sort_values(["repeat", "fold"])

    def to_texts(self) -> dict[str, str]:
        """Return both tables as CSV, by path; `from_texts` reads them."""
        return {path: getattr(self, name).to_csv(index=False) for name, path in EVALUATION_FILES.items()}

    @classmethod
    def from_texts(cls, read: Callable[[str], str]) -> Self:
        """Return the evaluation whose files `read` returns by path."""
        tables = {name: io.StringIO(read(path)) for name, path in EVALUATION_FILES.items()}
        return cls(**{name: pd.read_csv(text, float_precision="round_trip") for name, text in tables.items()})

    def _repeats(self, split: str) -> list[pd.DataFrame]:
        """Return the predictions of a split with their calibration bin, one table per repeat."""
        chosen = self.predictions[self.predictions["split"] == split]
        return [
            repeat.assign(bin=pd.qcut(repeat["probability"].rank(method="first"), CALIBRATION_BINS, labels=False))
            for _, repeat in chosen.groupby("repeat")
        ]


class Fold(NamedTuple):
    """One division of the passengers: `train` and `held_out` are positions of rows."""

    split: str
    repeat: int
    number: int
    train: Rows
    held_out: Rows


class GroupFolds(StratifiedGroupKFold):
    """The folds of scikit-learn's class, whose loops would take half of the time of an evaluation."""

    def _find_best_fold(
        self, y_counts_per_fold: npt.NDArray[Any], y_cnt: npt.NDArray[Any], group_y_counts: npt.NDArray[Any]
    ) -> int:
        added = np.eye(self.n_splits)[:, :, None] * group_y_counts
        shares = (y_counts_per_fold + added) / y_cnt
        spreads = shares.std(axis=1).mean(axis=1).tolist()
        sizes = y_counts_per_fold.sum(axis=1).tolist()
        best = 0
        for fold in range(1, self.n_splits):
            difference = spreads[fold] - spreads[best]
            is_close = abs(difference) <= 1e-8 + 1e-5 * spreads[best]
            if difference < 0 or (is_close and sizes[fold] < sizes[best]):
                best = fold
        return best


def cross_validation_folds(df: pd.DataFrame, folds: int, repeats: int, seed: int) -> Iterator[Fold]:
    """Yield the folds of both splits; in `grouped` no ticket is in both parts."""
    for repeat in range(repeats):
        state = seed + repeat
        stratified = StratifiedKFold(folds, shuffle=True, random_state=state)
        grouped = GroupFolds(folds, shuffle=True, random_state=state)
        for number, (train, held_out) in enumerate(stratified.split(df, df[TARGET])):
            yield Fold("stratified", repeat, number, train, held_out)
        for number, (train, held_out) in enumerate(grouped.split(df, df[TARGET], travel_groups(df))):
            yield Fold("grouped", repeat, number, train, held_out)


def evaluate(
    df: pd.DataFrame, parameters: Parameters, folds: int = 5, repeats: int = 5, processes: int = 2
) -> Evaluation:
    """Cross-validate the model with `parameters` and the baselines; see `cross_validate`.

    `parameters.seed` is also the seed of the folds.
    """
    classifiers = {MODEL: lambda X, y: fit(X, y, parameters), **BASELINES}
    return cross_validate(df, classifiers, folds=folds, repeats=repeats, seed=parameters.seed, processes=processes)


def cross_validate(
    df: pd.DataFrame,
    classifiers: Mapping[str, Fit],
    *,
    folds: int = 5,
    repeats: int = 5,
    seed: int = 0,
    processes: int = 2,
) -> Evaluation:
    """Fit the classifiers on each training part, and score them on the held-out fold.

    There are two splits: `stratified` by outcome, and the stricter `grouped`, in which passengers who share a ticket
    (mostly families) are in the same fold.

    Args:
        df: One row per passenger with the canonical columns.
        classifiers: Functions that fit a classifier, by name. All learning and tuning must happen in them. Predictions
            of the one named `MODEL` are kept.
        folds: Number of folds.
        repeats: How often the folds of each split are drawn, with a different seed each time.
        seed: Seed of the folds.
        processes: Number of processes; the result does not depend on it.

    Raises:
        ValueError: no classifier is named `MODEL`.
    """
    if MODEL not in classifiers:
        raise ValueError(f"one of the classifiers must be named {MODEL!r}")

    X, y = df.loc[:, list(ATTRIBUTE_NAMES)], df[TARGET].to_numpy()

    def run(fold: Fold) -> tuple[list[dict[str, Any]], pd.DataFrame]:
        split, repeat, number, train, held_out = fold
        scores = []
        for name, fit_classifier in classifiers.items():
            classifier = fit_classifier(X.iloc[train], y[train])
            probability = classifier.predict_proba(X.iloc[held_out])[:, 1].astype(float)
            values = {metric: score(y[held_out], probability) for metric, score in METRICS.items()}
            scores.append({"split": split, "classifier": name, "repeat": repeat, "fold": number, **values})
            if name == MODEL:
                predictions = pd.DataFrame(
                    {
                        "split": split,
                        "repeat": repeat,
                        "row": held_out,
                        "survived": y[held_out],
                        "probability": probability,
                    }
                )
        return scores, predictions

    # Each process fits with one thread: nested thread pools would be ten times slower.
    with threadpool_limits(1):
        results = map_in_processes(run, list(cross_validation_folds(df, folds, repeats, seed)), processes)
    return Evaluation(
        scores=pd.DataFrame([score for scores, _ in results for score in scores]),
        predictions=pd.concat([predictions for _, predictions in results], ignore_index=True),
    )
