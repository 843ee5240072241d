"""The plots of the model card, as SVG files. The same input gives the same bytes; no display is needed."""

import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflows.ml_training_and_inference.evaluation import Evaluation

_SETTINGS = {
    "svg.hashsalt": "model card",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.4,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
# matplotlib's settings are global.
_matplotlib_lock = threading.Lock()


def calibration(evaluation: Evaluation) -> str:
    """Draw the share of survivors against the predicted probability in ten bins, with the spread over the repeats."""

    def draw(axes: Axes) -> None:
        for split, bins in _each_split(evaluation, evaluation.calibration):
            x, y, spread = (bins[name] for name in ("predicted", "survived", "survived_spread"))
            axes.errorbar(x, y, spread, marker="o", markersize=4, capsize=2, label=split)
        _unit_square(axes, "predicted probability", "share of survivors")

    return _svg(draw, (3.8, 3.6))


def roc(evaluation: Evaluation) -> str:
    """Draw the ROC curve of each split, with its spread over the repeats."""

    def draw(axes: Axes) -> None:
        for split, curve in _each_split(evaluation, evaluation.roc):
            x, y, spread = (curve[name] for name in curve)
            axes.plot(x, y, label=split)
            axes.fill_between(x, y - spread, (y + spread).clip(upper=1), alpha=0.2, linewidth=0)
        _unit_square(axes, "false positive rate", "true positive rate")

    return _svg(draw, (3.8, 3.6))


def importance(features: Mapping[str, float]) -> str:
    """Draw the mean absolute contribution of each feature in log-odds, from top to bottom in the given order."""

    def draw(axes: Axes) -> None:
        axes.bar_label(axes.barh(list(features), list(features.values())), fmt="%.2f", padding=3)
        axes.set(xlabel="mean absolute contribution, log-odds")
        axes.margins(x=0.12)
        axes.invert_yaxis()

    return _svg(draw, (6.4, 0.8 + 0.26 * len(features)))


def groups(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw the share of survivors with its confidence interval, and the mean prediction, of each group.

    Args:
        rows: Groups as `card.survival_by_group` returns them.
    """

    def draw(axes: Axes) -> None:
        names = [f"{row['attribute']}: {row['name']} ({row['passengers']})" for row in rows]
        survived, low, high, predicted = (
            np.array([row[name] for row in rows]) for name in ("survived", "low", "high", "predicted")
        )
        errors = np.maximum([survived - low, high - survived], 0)
        axes.errorbar(survived, names, xerr=errors, fmt="o", capsize=2, label="survived, 95 % confidence interval")
        axes.scatter(
            predicted, names, marker="D", facecolors="none", edgecolors="C1", zorder=3, label="mean prediction"
        )
        axes.set(xlim=(-0.02, 1.02), xlabel="share of the group")
        axes.invert_yaxis()
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)

    return _svg(draw, (6.4, 1.0 + 0.26 * len(rows)))


def _each_split(evaluation: Evaluation, of: Callable[[str], pd.DataFrame]) -> Iterator[tuple[str, pd.DataFrame]]:
    for split in dict.fromkeys(evaluation.predictions["split"]):
        yield split, of(split)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y, aspect="equal")
    axes.legend(loc="lower right")


def _svg(draw: Callable[[Axes], None], inches: tuple[float, float]) -> str:
    with _matplotlib_lock, style.context(["default", _SETTINGS]):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
