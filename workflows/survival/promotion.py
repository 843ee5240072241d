"""Whether a candidate may serve: better than every baseline, and not worse than the version that serves.

Both are judged by Brier score and ROC AUC in both splits, on passengers that were left out.

The version that serves cannot simply be scored on the new passengers: it was fitted on most of them. What is
compared is what both evaluations recorded, fold by fold where they used the same folds (the same passengers,
drawn the same way), as after a change of code or parameters; else, after a change of the data, the means. A candidate
may be worse by one standard error of the difference, which other folds would explain as well. On other data
that error is larger, and a difference may also come from passengers who are harder to predict: such a
candidate is kept, and somebody decides.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workflows.survival.evaluation import MODEL, Evaluation

# Name in words, and whether more is better (1) or worse (-1).
CRITERIA: Mapping[str, tuple[str, int]] = {"brier": ("Brier score", -1), "roc_auc": ("ROC AUC", 1)}


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate, and why.

    Args:
        accepted: Whether it may serve.
        reasons: Why not.
        incumbent: The version that served when it was judged, None where none did.
        comparison: How it was compared with that version.
    """

    accepted: bool
    reasons: tuple[str, ...]
    incumbent: str | None
    comparison: str

    def to_dict(self) -> dict[str, Any]:
        """What is kept with a version, as JSON types."""
        return {
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            "incumbent": self.incumbent,
            "comparison": self.comparison,
        }


def fold_scores(evaluation: Evaluation) -> dict[str, dict[str, list[float]]]:
    """Return the model's score in each fold, `{split: {metric: [...]}}`, ordered by repeat and fold."""
    scores = evaluation.scores[evaluation.scores["classifier"] == MODEL].sort_values(["repeat", "fold"])
    return {
        str(split): {metric: [float(score) for score in rows[metric]] for metric in CRITERIA}
        for split, rows in scores.groupby("split", sort=False)
    }


def judge(candidate: Mapping[str, Any], incumbent: Mapping[str, Any] | None) -> Verdict:
    """Decide whether a candidate may serve.

    Args:
        candidate: Metadata of the candidate: `metrics`, `fold_scores`, `data_sha256`, `evaluation`, `parameters`.
        incumbent: Metadata of the version that serves, None where none does.
    """
    reasons = _not_better_than_baselines(candidate)
    if incumbent is None:
        return Verdict(not reasons, tuple(reasons), None, "no version served")
    name = incumbent.get("version")
    if not incumbent.get("metrics") or not incumbent.get("evaluation"):
        return Verdict(not reasons, tuple(reasons), name, f"{name} has no figures to compare with")
    paired = _same_folds(candidate, incumbent)
    reasons += _worse_in_the_same_folds(candidate, incumbent) if paired else _worse_in_the_mean(candidate, incumbent)
    how = "in the same folds" if paired else "by the figures recorded in other folds, so with a wider tolerance"
    return Verdict(not reasons, tuple(reasons), name, f"compared with {name} {how}")


def standard_error_factor(evaluation: Mapping[str, int]) -> float:
    """Return what the variance over folds is multiplied by to get that of their mean.

    1/J + n_test/n_train for J = folds × repeats: training parts overlap, so folds are not independent (Nadeau and
    Bengio, Inference for the Generalization Error, 2003).
    """
    return 1 / (evaluation["folds"] * evaluation["repeats"]) + 1 / (evaluation["folds"] - 1)


def _not_better_than_baselines(candidate: Mapping[str, Any]) -> list[str]:
    """Name the best baseline in each split and metric in which the model is not better than all of them."""
    table = _by_classifier(candidate)
    reasons = []
    for split in dict.fromkeys(split for split, _ in table):
        for metric, (label, sign) in CRITERIA.items():
            scores = {name: row[metric] for (its_split, name), row in table.items() if its_split == split}
            own = scores.pop(MODEL)
            # Written so that a score which is not a number is not better.
            as_good = {name: score for name, score in scores.items() if not sign * (own - score) > 0}
            if as_good:
                best, score = max(as_good.items(), key=lambda item: sign * item[1])
                reasons.append(f"{split} {label} {own:.4f} is not better than {score:.4f} of {best}")
    return reasons


def _same_folds(candidate: Mapping[str, Any], incumbent: Mapping[str, Any]) -> bool:
    """Whether both were scored on the same passengers, drawn the same way."""

    def drawn(metadata: Mapping[str, Any]) -> tuple[Any, ...]:
        return metadata.get("data_sha256"), metadata["evaluation"], metadata.get("parameters", {}).get("seed")

    return "fold_scores" in incumbent and drawn(candidate) == drawn(incumbent)


def _worse_in_the_same_folds(candidate: Mapping[str, Any], incumbent: Mapping[str, Any]) -> list[str]:
    factor = standard_error_factor(candidate["evaluation"])
    reasons = []
    for split, scores in candidate["fold_scores"].items():
        for metric, (_, sign) in CRITERIA.items():
            both = np.array([incumbent["fold_scores"][split][metric], scores[metric]])
            # A fold in which all had the same outcome has no AUC.
            earlier, now = both[:, np.isfinite(both).all(axis=0)]
            tolerance = math.sqrt(factor * np.var(sign * (earlier - now), ddof=1))
            reasons += _worse(split, metric, float(now.mean()), float(earlier.mean()), tolerance)
    return reasons


def _worse_in_the_mean(candidate: Mapping[str, Any], incumbent: Mapping[str, Any]) -> list[str]:
    earlier, now = _by_classifier(incumbent), _by_classifier(candidate)
    reasons = []
    for (split, classifier), row in now.items():
        if classifier != MODEL or (split, MODEL) not in earlier:
            continue
        before = earlier[split, MODEL]
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
    return [f"{split} {label} {now:.4f} is worse than the {earlier:.4f} of what serves, by more than {tolerance:.4f}"]


def _by_classifier(metadata: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(row["split"], row["classifier"]): row for row in metadata["metrics"]["table"]}
