"""Decide whether a candidate may serve: it must beat every baseline and must not be worse than the champion.

Both are compared by Brier score and ROC AUC on held-out folds, in both splits.

The champion cannot be scored on the new passengers, because it was fitted on most of them. The recorded
evaluations are compared instead. If both used the same folds (the same passengers and seed, as after a change of code
or parameters), scores are compared fold by fold. Otherwise, as after a change of the data, means are compared. The
candidate may be worse by one standard error of the difference. That error is larger if the folds differ, and passengers
who are harder to predict also lower a score: a rejected candidate is kept, so that a person can promote it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workflows.ml_training_and_inference.evaluation import MODEL, Evaluation

# Name for people, and whether higher is better (1) or worse (-1).
CRITERIA: Mapping[str, tuple[str, int]] = {"brier": ("Brier score", -1), "roc_auc": ("ROC AUC", 1)}


@dataclass(frozen=True)
class PromotionDecision:
    """Whether a candidate may serve, and why; kept with the version as JSON.

    Attributes:
        accepted: Whether it may serve.
        reasons: Reasons for a rejection.
        incumbent: The champion at the time of the decision, None if there was none.
        comparison: How the candidate was compared with the incumbent.
    """

    accepted: bool
    reasons: tuple[str, ...]
    incumbent: str | None
    comparison: str


def fold_scores(evaluation: Evaluation) -> dict[str, dict[str, list[float]]]:
    """Return the model's score in each fold, `{split: {metric: [...]}}`, ordered by repeat and fold."""
    scores = evaluation.scores[evaluation.scores["classifier"] == MODEL].sort_values(["repeat", "fold"])
    return {
        str(split): {metric: [float(score) for score in rows[metric]] for metric in CRITERIA}
        for split, rows in scores.groupby("split", sort=False)
    }


def decide_promotion(candidate: Mapping[str, Any], incumbent: Mapping[str, Any] | None) -> PromotionDecision:
    """Decide whether a candidate may serve.

    Args:
        candidate: Its metadata: `metrics`, `fold_scores`, `data_sha256`, `evaluation`, `parameters`.
        incumbent: Metadata of the champion, None if there is none.
    """
    reasons = _compare_with_baselines(candidate)
    if incumbent is None:
        return PromotionDecision(not reasons, tuple(reasons), None, "no version served")
    name = incumbent["version"]
    if _used_same_folds(candidate, incumbent):
        reasons += _compare_fold_by_fold(candidate, incumbent)
        how = "in the same folds"
    else:
        reasons += _compare_means(candidate, incumbent)
        how = "by the means of different folds, with a wider tolerance"
    return PromotionDecision(not reasons, tuple(reasons), name, f"compared with {name} {how}")


def standard_error_factor(evaluation: Mapping[str, int]) -> float:
    """Return the factor by which the variance over folds is multiplied to get the variance of their mean.

    1/J + n_test/n_train with J = folds × repeats. The second term corrects for the overlap of the training parts, which
    makes folds dependent (Nadeau and Bengio, Inference for the Generalization Error, 2003).
    """
    return 1 / (evaluation["folds"] * evaluation["repeats"]) + 1 / (evaluation["folds"] - 1)


def _compare_with_baselines(candidate: Mapping[str, Any]) -> list[str]:
    """Return a reason for each split and metric in which some baseline is at least as good as the candidate."""
    table = _by_classifier(candidate)
    reasons = []
    for split in dict.fromkeys(split for split, _ in table):
        for metric, (label, sign) in CRITERIA.items():
            scores = {name: row[metric] for (its_split, name), row in table.items() if its_split == split}
            own = scores.pop(MODEL)
            # Negated, so that a NaN score counts as not better.
            as_good = {name: score for name, score in scores.items() if not sign * (own - score) > 0}
            if as_good:
                best, score = max(as_good.items(), key=lambda item: sign * item[1])
                reasons.append(f"{split} {label} {own:.4f} is not better than {score:.4f} of {best}")
    return reasons


def _used_same_folds(candidate: Mapping[str, Any], incumbent: Mapping[str, Any]) -> bool:
    def fold_settings(metadata: Mapping[str, Any]) -> tuple[Any, ...]:
        return metadata["data_sha256"], metadata["evaluation"], metadata["parameters"]["seed"]

    return fold_settings(candidate) == fold_settings(incumbent)


def _compare_fold_by_fold(candidate: Mapping[str, Any], incumbent: Mapping[str, Any]) -> list[str]:
    factor = standard_error_factor(candidate["evaluation"])
    reasons = []
    for split, scores in candidate["fold_scores"].items():
        for metric, (_, sign) in CRITERIA.items():
            both = np.array([incumbent["fold_scores"][split][metric], scores[metric]])
            # The AUC of a fold with only one outcome is NaN.
            earlier, now = both[:, np.isfinite(both).all(axis=0)]
            tolerance = math.sqrt(factor * np.var(sign * (earlier - now), ddof=1))
            reasons += _worse(split, metric, float(now.mean()), float(earlier.mean()), tolerance)
    return reasons


def _compare_means(candidate: Mapping[str, Any], incumbent: Mapping[str, Any]) -> list[str]:
    earlier, now = _by_classifier(incumbent), _by_classifier(candidate)
    reasons = []
    for split in candidate["fold_scores"]:
        before, row = earlier[split, MODEL], now[split, MODEL]
        for metric in CRITERIA:
            tolerance = math.sqrt(
                standard_error_factor(candidate["evaluation"]) * row[f"{metric}_spread"] ** 2
                + standard_error_factor(incumbent["evaluation"]) * before[f"{metric}_spread"] ** 2
            )
            reasons += _worse(split, metric, row[metric], before[metric], tolerance)
    return reasons


def _worse(split: str, metric: str, now: float, earlier: float, tolerance: float) -> list[str]:
    label, sign = CRITERIA[metric]
    if sign * (earlier - now) <= tolerance:
        return []
    return [f"{split} {label} {now:.4f} is worse than {earlier:.4f} of the champion, by more than {tolerance:.4f}"]


def _by_classifier(metadata: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(row["split"], row["classifier"]): row for row in metadata["metrics"]}
