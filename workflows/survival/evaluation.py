"""How good the model is on passengers it was not fitted on, beside baselines in the same folds."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, log_loss, roc_auc_score, roc_curve
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

from workflows.sql_python.passengers import ATTRIBUTE_NAMES, TARGET
from workflows.survival.features import deck_of, title_of
from workflows.survival.training import Parameters, fit

Outcomes = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]
MODEL = "model"
CALIBRATION_BINS = 10
ROC_POINTS = 51
# Beyond this a probability is 0 or 1 for the calibration line, whose log-odds must stay finite.
_EPSILON = 1e-9


class Classifier(Protocol):
    """What can be evaluated."""

    def predict_proba(self, X: pd.DataFrame) -> npt.NDArray[Any]:
        """Return an array of shape (passengers, 2), the probability of survival last."""


Fit = Callable[[pd.DataFrame, Outcomes], Classifier]


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


def _titles_and_decks(X: pd.DataFrame) -> pd.DataFrame:
    """Title and deck, from name and cabin; the empty text where there is none."""
    title = X["_name"].map(lambda name: title_of(str(name)), na_action="ignore")
    deck = X["cabin"].map(lambda cabin: deck_of(str(cabin)), na_action="ignore")
    return pd.DataFrame({"title": title, "deck": deck}).fillna("").astype(str)


def _text(X: pd.DataFrame) -> pd.DataFrame:
    return X.astype(object).where(X.notna(), np.nan)


def _one_hot(missing: str) -> Pipeline:
    """Fill the gaps of text columns by the strategy named, then one column a value, all 0 for one not seen."""
    return make_pipeline(
        FunctionTransformer(_text),
        SimpleImputer(strategy=missing, fill_value="", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore"),
    )


def _logistic_regression() -> Pipeline:
    """Logistic regression on every attribute but the ticket, encoded the usual way."""

    def numbers(*steps: BaseEstimator) -> Pipeline:
        return make_pipeline(*steps, SimpleImputer(strategy="median", add_indicator=True), StandardScaler())

    encoded: ColumnTransformer = make_column_transformer(
        (numbers(), ["age", "sibsp", "parch"]),
        (numbers(FunctionTransformer(np.log1p)), ["fare"]),
        (_one_hot("most_frequent"), ["pclass", "sex", "embarked"]),
        (
            make_pipeline(FunctionTransformer(_titles_and_decks), OneHotEncoder(handle_unknown="ignore")),
            ["_name", "cabin"],
        ),
    )
    return make_pipeline(encoded, LogisticRegression(max_iter=1000))


def _demo_features() -> Pipeline:
    """What is often done with this data set: names, tickets and cabins one-hot encoded, XGBoost as it comes.

    A name tells nothing about a passenger who was left out; only where rows of one passenger are on both
    sides of a split does it seem to.
    """
    encoded: ColumnTransformer = make_column_transformer(
        (SimpleImputer(strategy="median"), ["pclass", "age", "sibsp", "parch", "fare"]),
        (_one_hot("most_frequent"), ["sex", "_name", "ticket", "cabin", "embarked"]),
        # More than a thousand columns, nearly all 0: dense, they would take most of the evaluation's time.
        sparse_threshold=1.0,
    )
    return make_pipeline(encoded, XGBClassifier(n_jobs=1))


# Each maps a training part to something fitted, imputation and encoding included.
BASELINES: Mapping[str, Fit] = {
    "majority class": lambda X, y: DummyClassifier(strategy="prior").fit(X, y),
    "sex only": lambda X, y: SexOnly().fit(X, y),
    "logistic regression": lambda X, y: _logistic_regression().fit(X, y),
    "demo features": lambda X, y: _demo_features().fit(X, y),
}
METRICS: Mapping[str, Callable[[Outcomes, Probabilities], float]] = {
    "accuracy": lambda y, p: float(accuracy_score(y, p >= 0.5)),
    "roc_auc": lambda y, p: float(roc_auc_score(y, p)),
    "brier": lambda y, p: float(brier_score_loss(y, p)),
    "log_loss": lambda y, p: float(log_loss(y, p, labels=[0, 1])),
}


def log_odds(probability: npt.ArrayLike) -> Probabilities:
    """Return the log-odds of probabilities; finite for 0 and 1 too."""
    p = np.clip(np.asarray(probability, dtype=float), _EPSILON, 1 - _EPSILON)
    return np.log(p / (1 - p))


def fit_calibration_line(predicted: Probabilities, y: Outcomes) -> tuple[float, float]:
    """Return slope and intercept of the outcomes' log-odds over the `predicted` ones, by maximum likelihood."""
    # The trace of a penalty keeps the slope finite where the predictions separate the outcomes.
    line = LogisticRegression(C=1e4).fit(predicted.reshape(-1, 1), y)
    return float(line.coef_[0, 0]), float(line.intercept_[0])


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

    def calibration(self, split: str = "stratified") -> pd.DataFrame:
        """Mean predicted probability and share of survivors in bins of equally many predictions.

        Returns:
            One row a bin, from the least to the most likely: `predicted`, `survived`, its spread over the repeats,
            and `predictions`, their number in all repeats together. The repeats draw other folds of the same
            passengers: the spread is that of the procedure, not of another sample of passengers.
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

    def confusion(self, split: str = "stratified") -> dict[str, list[list[float]]]:
        """Counts of passengers, `mean` and `spread` over the repeats, each of which predicts everybody once.

        Rows are the outcomes 0 and 1, columns what was predicted.
        """
        counts = np.array(
            [
                confusion_matrix(repeat["survived"], repeat["probability"] >= 0.5, labels=[0, 1])
                for repeat in self._repeats(split)
            ]
        )
        return {"mean": counts.mean(axis=0).tolist(), "spread": counts.std(axis=0).tolist()}

    def roc(self, split: str = "stratified") -> pd.DataFrame:
        """ROC curve of the predictions of a repeat: mean and spread over the repeats at `ROC_POINTS` rates."""
        grid = np.linspace(0, 1, ROC_POINTS)
        rates = []
        for repeat in self._repeats(split):
            false_positive, true_positive, _ = roc_curve(repeat["survived"], repeat["probability"])
            # The curve starts at (0, 0) and may rise at once, which interpolation would skip.
            rates.append(np.r_[0, np.interp(grid[1:], false_positive, true_positive)])
        return pd.DataFrame(
            {
                "false_positive_rate": grid,
                "true_positive_rate": np.mean(rates, axis=0),
                "true_positive_rate_spread": np.std(rates, axis=0),
            }
        )

    def calibration_summary(self, split: str = "stratified") -> dict[str, float]:
        """Three figures of calibration, mean and spread over the repeats.

        `expected_calibration_error`: mean distance between predicted and observed share over the bins of
        `calibration`; with 90 passengers a bin it is about 0.03 even where every probability is right. `slope`
        and `intercept` of the outcome's log-odds over the predicted ones (Cox 1958): 1 and 0 where calibrated,
        a slope below 1 where predictions are too extreme.
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

    def to_dict(self) -> dict[str, Any]:
        """Everything that is kept with a version, as JSON types."""
        splits = list(dict.fromkeys(self.scores["split"]))
        return {
            "table": self.table().to_dict("records"),
            "calibration": {split: self.calibration(split).to_dict("records") for split in splits},
            "confusion": {split: self.confusion(split) for split in splits},
            "roc": {split: self.roc(split).to_dict("records") for split in splits},
            "calibration_summary": {split: self.calibration_summary(split) for split in splits},
        }

    def _repeats(self, split: str) -> list[pd.DataFrame]:
        """The predictions of a split, one table a repeat, with the calibration bin of each."""
        chosen = self.predictions[self.predictions["split"] == split]
        return [
            repeat.assign(bin=pd.qcut(repeat["probability"].rank(method="first"), CALIBRATION_BINS, labels=False))
            for _, repeat in chosen.groupby("repeat")
        ]


def cross_validation_folds(
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
    """Fit the model with `parameters` and the baselines on each training part, and score them on the part left out.

    `parameters.seed` also shuffles the folds; see `cross_validate`.
    """
    classifiers = {MODEL: lambda X, y: fit(X, y, parameters), **BASELINES}
    return cross_validate(df, classifiers, folds=folds, repeats=repeats, seed=parameters.seed, workers=workers)


def cross_validate(
    df: pd.DataFrame,
    classifiers: Mapping[str, Fit],
    *,
    folds: int = 5,
    repeats: int = 5,
    seed: int = 0,
    workers: int = 2,
) -> Evaluation:
    """Fit the classifiers on each training part, and score them on the part left out.

    Two splits: `stratified` by outcome, and `grouped`, in which passengers who share a ticket (families, mostly)
    are on one side, as the stricter figure.

    Args:
        df: One row per passenger, the canonical columns.
        classifiers: What to fit, by name; whatever is chosen or learned must be so in the fit. Predictions are kept
            of the one named `MODEL`.
        folds: Parts of each split.
        repeats: Times that each split is drawn, with another seed each.
        seed: Shuffles the folds.
        workers: Threads; the result does not depend on them.

    Raises:
        ValueError: none of the classifiers is `MODEL`.
    """
    if MODEL not in classifiers:
        raise ValueError(f"one of the classifiers has to be {MODEL!r}")

    def run(part: tuple[str, int, int, Any, Any]) -> tuple[list[dict[str, Any]], pd.DataFrame]:
        split, repeat, fold, fitted, left_out = part
        X, y = df.loc[:, list(ATTRIBUTE_NAMES)], df[TARGET].to_numpy()
        scores = []
        for name, fit_classifier in classifiers.items():
            classifier = fit_classifier(X.iloc[fitted], y[fitted])
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

    # Each worker fits with one thread: pools of threads inside would wait for each other, ten times slower. The
    # limit of the linear algebra is one for the process, that of OpenMP one for each thread.
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(workers, initializer=lambda: threadpool_limits(1, user_api="openmp")) as executor,
    ):
        results = list(executor.map(run, cross_validation_folds(df, folds, repeats, seed)))
    return Evaluation(
        scores=pd.DataFrame([score for scores, _ in results for score in scores]),
        predictions=pd.concat([predictions for _, predictions in results], ignore_index=True),
    )
