import copy
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workflows.ml_training_and_inference.evaluation import METRICS, Evaluation
from workflows.ml_training_and_inference.promotion import decide_promotion, fold_scores, standard_error_factor

FOLDS = {"folds": 5, "repeats": 5}
BASELINES = {"majority class": (0.5, 0.24), "logistic regression": (0.86, 0.14)}


def version(
    roc_auc: float = 0.88, brier: float = 0.12, spread: float = 0.02, seed: int = 0, **changes: Any
) -> dict[str, Any]:
    """Return metadata of a version whose fold scores vary around these means, equally for the same seed."""
    noise = np.random.default_rng(seed).normal(0, 1, 25)
    noise = (noise - noise.mean()) / noise.std() * spread
    splits = ("stratified", "grouped")
    table = [
        {"split": split, "classifier": name, "roc_auc": auc, "brier": score}
        | {"roc_auc_spread": spread, "brier_spread": spread}
        for split in splits
        for name, (auc, score) in {"model": (roc_auc, brier), **BASELINES}.items()
    ]
    folds = {"roc_auc": (roc_auc + noise).tolist(), "brier": (brier + noise).tolist()}
    return {
        "version": f"v{seed}",
        "metrics": table,
        "fold_scores": {split: copy.deepcopy(folds) for split in splits},
        "data_sha256": "data",
        "evaluation": FOLDS,
        "parameters": {"seed": 0, "max_depth": 5},
    } | changes


def test_without_a_serving_version_beating_the_baselines_is_enough() -> None:
    decision = decide_promotion(version(), None)
    assert decision.accepted
    assert (decision.reasons, decision.incumbent) == ((), None)


@pytest.mark.parametrize("split", ["stratified", "grouped"])
@pytest.mark.parametrize("metric", ["roc_auc", "brier"])
@pytest.mark.parametrize("classifier", list(BASELINES))
@pytest.mark.parametrize("gain", [0.0, 0.001, math.nan])
def test_a_baseline_that_is_as_good_in_one_metric_is_a_reason(
    split: str, metric: str, classifier: str, gain: float
) -> None:
    candidate = version()
    better = 1 if metric == "roc_auc" else -1
    for row in candidate["metrics"]:
        if (row["split"], row["classifier"]) == (split, classifier):
            row[metric] = (0.88 if metric == "roc_auc" else 0.12) + better * gain
        if math.isnan(gain) and (row["split"], row["classifier"]) == (split, "model"):
            row[metric] = math.nan
    decision = decide_promotion(candidate, None)
    assert not decision.accepted
    assert len(decision.reasons) == 1
    assert split in decision.reasons[0]
    assert math.isnan(gain) or classifier in decision.reasons[0]


def test_equal_scores_are_not_worse() -> None:
    decision = decide_promotion(version(), version())
    assert decision.accepted
    assert decision.comparison == "compared with v0 in the same folds"


@pytest.mark.parametrize("figure", [{"roc_auc": 0.875}, {"brier": 0.125}])
def test_a_small_loss_counts_in_the_same_folds_but_not_in_different_folds(figure: dict[str, float]) -> None:
    """A loss of 0.005 in every fold is not chance, although the scores of the folds vary by 0.02."""
    decision = decide_promotion(version(**figure), version())
    assert not decision.accepted
    assert len(decision.reasons) == 2
    assert {reason.split()[0] for reason in decision.reasons} == {"stratified", "grouped"}
    assert decide_promotion(version(**figure), version(data_sha256="other")).accepted


@pytest.mark.parametrize(
    "other", [{"data_sha256": "x"}, {"parameters": {"seed": 1}}, {"evaluation": FOLDS | {"repeats": 1}}]
)
def test_a_large_loss_counts_in_different_folds(other: dict[str, Any]) -> None:
    incumbent = version(seed=1, **other)
    # The standard error of a mean over 25 folds is 0.0108, that of the difference of two means 0.0152.
    assert decide_promotion(version(roc_auc=0.868), incumbent).accepted
    decision = decide_promotion(version(roc_auc=0.861, brier=0.12), incumbent)
    assert not decision.accepted
    assert all("ROC AUC" in reason for reason in decision.reasons)
    assert "wider tolerance" in decision.comparison


def test_other_parameters_and_code_on_the_same_data_use_the_same_folds() -> None:
    incumbent = version(parameters={"seed": 0, "max_depth": 1}, code_sha256="other")
    assert decide_promotion(version(), incumbent).comparison.endswith("in the same folds")


def test_the_tolerance_in_the_same_folds_is_one_corrected_standard_error() -> None:
    assert standard_error_factor(FOLDS) == pytest.approx(1 / 25 + 1 / 4)
    candidate, incumbent = version(seed=1), version(seed=0)
    losses = np.array(candidate["fold_scores"]["grouped"]["brier"]) - incumbent["fold_scores"]["grouped"]["brier"]
    error = math.sqrt((1 / 25 + 1 / 4) * losses.var(ddof=1))
    for factor, accepted in ((0.99, True), (1.01, False)):
        worse = copy.deepcopy(candidate)
        worse["fold_scores"]["grouped"]["brier"] = [
            score + factor * error for score in candidate["fold_scores"]["grouped"]["brier"]
        ]
        assert decide_promotion(worse, incumbent).accepted is accepted


def test_folds_without_a_score_are_ignored() -> None:
    candidate, incumbent = version(), version()
    for metadata in (candidate, incumbent):
        metadata["fold_scores"]["grouped"]["roc_auc"][3] = math.nan
    assert decide_promotion(candidate, incumbent).accepted


@pytest.fixture
def evaluation() -> Evaluation:
    rows = [
        {"split": split, "classifier": name, "repeat": repeat, "fold": fold}
        | {metric: 10 * repeat + fold + (name == "model") * 0.5 for metric in METRICS}
        for split in ("stratified", "grouped")
        for repeat in (1, 0)
        for fold in range(3)
        for name in ("model", "sex only")
    ]
    return Evaluation(pd.DataFrame(rows), pd.DataFrame())


def test_fold_scores_are_the_models_in_order(evaluation: Evaluation) -> None:
    expected = {"brier": [0.5, 1.5, 2.5, 10.5, 11.5, 12.5], "roc_auc": [0.5, 1.5, 2.5, 10.5, 11.5, 12.5]}
    assert fold_scores(evaluation) == {"stratified": expected, "grouped": expected}
