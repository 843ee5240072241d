"""The plots of the model card. Each function returns an inline SVG, with the same bytes for the same input.

Colours are CSS variables, so that plots adapt to dark mode and print, and text stays text. pyplot is not used, so no
display is needed; matplotlib's global settings are guarded by a lock.
"""

import io
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# CSS variable of the page -> colour that matplotlib draws with, which is replaced by the variable.
COLORS: Mapping[str, str] = {
    "ink": "#1b1f24",
    "muted": "#5b6571",
    "grid": "#d5dbe1",
    "first": "#1f5fbf",
    "second": "#b45309",
}
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "model card",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLORS["muted"],
    "axes.labelcolor": COLORS["ink"],
    "axes.titlecolor": COLORS["ink"],
    "text.color": COLORS["ink"],
    "xtick.color": COLORS["muted"],
    "ytick.color": COLORS["muted"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.labelcolor": COLORS["ink"],
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_matplotlib_lock = threading.Lock()


def calibration(bins: Sequence[Mapping[str, float]], title: str, alt_text: str) -> str:
    """Draw the share of survivors against the predicted probability, one point per bin, and the diagonal.

    Args:
        bins: `predicted`, `survived` and `survived_spread` of each bin.
        title: Title of the plot.
        alt_text: Text alternative for people who cannot see the plot.
    """

    def draw(axes: Axes) -> None:
        _unit_square(axes, "predicted probability", "share of survivors")
        predicted, survived = _column(bins, "predicted"), _column(bins, "survived")
        axes.errorbar(
            predicted,
            survived,
            yerr=_column(bins, "survived_spread"),
            color=COLORS["first"],
            marker="o",
            markersize=4,
            linewidth=1.2,
            capsize=2.5,
        )
        axes.set_title(title)

    return _draw_svg(f"calibration {title}", (3.6, 3.5), alt_text, draw)


def roc(curves: Mapping[str, Sequence[Mapping[str, float]]], alt_text: str) -> str:
    """Draw the ROC curve of each split with its spread, and the diagonal.

    Args:
        curves: Points of each split: `false_positive_rate`, `true_positive_rate`, `true_positive_rate_spread`.
        alt_text: Text alternative.
    """

    def draw(axes: Axes) -> None:
        _unit_square(axes, "false positive rate", "true positive rate")
        styles = (("first", "-"), ("second", "--"))
        for (split, points), (color, line) in zip(curves.items(), styles, strict=False):
            x, y = _column(points, "false_positive_rate"), _column(points, "true_positive_rate")
            spread = _column(points, "true_positive_rate_spread")
            low, high = np.clip(y - spread, 0, 1), np.clip(y + spread, 0, 1)
            axes.fill_between(x, low, high, color=COLORS[color], alpha=0.18, linewidth=0)
            axes.plot(x, y, color=COLORS[color], linestyle=line, linewidth=1.4, label=split)
        axes.legend(loc="lower right")

    return _draw_svg("roc", (3.6, 3.5), alt_text, draw)


def confusion(mean: Sequence[Sequence[float]], spread: Sequence[Sequence[float]], title: str, alt_text: str) -> str:
    """Draw the confusion matrix: outcome in rows, prediction in columns, higher counts darker.

    Args:
        mean: Mean counts, `[[true negative, false positive], [false negative, true positive]]`.
        spread: Spread of these counts.
        title: Title of the plot.
        alt_text: Text alternative.
    """

    def draw(axes: Axes) -> None:
        most = max(max(row) for row in mean) or 1
        for outcome, (counts, spreads) in enumerate(zip(mean, spread, strict=True)):
            for predicted, (count, deviation) in enumerate(zip(counts, spreads, strict=True)):
                color = COLORS["first" if outcome == predicted else "second"]
                shade = 0.08 + 0.27 * count / most
                axes.fill_between([predicted, predicted + 1], outcome, outcome + 1, color=color, alpha=shade, lw=0)
                text = f"{count:.0f} ± {deviation:.0f}"
                axes.text(predicted + 0.5, outcome + 0.5, text, ha="center", va="center", fontsize=12)
        axes.set(xlim=(0, 2), ylim=(2, 0), xlabel="predicted", ylabel="actual", title=title)
        names = ["died", "survived"]
        axes.set_xticks([0.5, 1.5], names)
        axes.set_yticks([0.5, 1.5], names, rotation=90, va="center")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    return _draw_svg(f"confusion {title}", (3.6, 2.8), alt_text, draw)


def importance(features: Mapping[str, float], alt_text: str) -> str:
    """Draw the mean absolute contribution of each feature in log-odds, from top to bottom in the given order."""

    def draw(axes: Axes) -> None:
        axes.barh(list(features), list(features.values()), color=COLORS["first"], height=0.65)
        axes.bar_label(axes.containers[0], fmt="%.2f", padding=3)  # type: ignore[arg-type]
        axes.margins(x=0.12)
        axes.invert_yaxis()
        axes.set_xlabel("mean absolute contribution, log-odds")
        _only_vertical_grid(axes)

    return _draw_svg("importance", (6.4, 0.8 + 0.26 * len(features)), alt_text, draw)


def contributions(parts: Mapping[str, float], title: str, alt_text: str) -> str:
    """Draw the contributions to one prediction in log-odds, from top to bottom in the given order."""

    def draw(axes: Axes) -> None:
        values = list(parts.values())
        colors = [COLORS["first" if value >= 0 else "second"] for value in values]
        bars = axes.barh(list(parts), values, color=colors, height=0.65)
        axes.bar_label(bars, fmt="%+.2f", padding=3)
        axes.axvline(0, color=COLORS["muted"], linewidth=0.8)
        axes.margins(x=0.22)
        axes.invert_yaxis()
        axes.set(xlabel="contribution, log-odds", title=title)
        _only_vertical_grid(axes)

    return _draw_svg(f"contributions {title}", (4.4, 0.9 + 0.27 * len(parts)), alt_text, draw)


def groups(rows: Sequence[Mapping[str, Any]], alt_text: str) -> str:
    """Draw the share of survivors with its confidence interval and the mean prediction, one line per group.

    Args:
        rows: Groups as `card.survival_by_group` returns them.
        alt_text: Text alternative.
    """

    def draw(axes: Axes) -> None:
        attributes = [row["attribute"] for row in rows]
        # Half a line of space between two attributes.
        gaps = np.cumsum([0] + [before != after for before, after in pairwise(attributes)])
        y = np.arange(len(rows)) + 0.5 * gaps
        survived = _column(rows, "survived")
        axes.errorbar(
            survived,
            y,
            xerr=np.maximum([survived - _column(rows, "low"), _column(rows, "high") - survived], 0),
            color=COLORS["first"],
            fmt="o",
            markersize=5,
            linewidth=1.2,
            capsize=2.5,
            label="survived, 95 % confidence interval",
        )
        axes.scatter(
            _column(rows, "predicted"),
            y,
            marker="D",
            s=38,
            facecolors="none",
            edgecolors=COLORS["second"],
            linewidths=1.4,
            zorder=3,
            label="mean prediction",
        )
        axes.set_yticks(y, [f"{row['attribute']}: {row['name']} ({row['passengers']})" for row in rows])
        axes.set(xlim=(-0.02, 1.02), xlabel="share of the group")
        axes.invert_yaxis()
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
        _only_vertical_grid(axes)

    return _draw_svg("groups", (6.4, 1.1 + 0.27 * len(rows)), alt_text, draw)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.plot([0, 1], [0, 1], color=COLORS["muted"], linestyle=":", linewidth=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y, aspect="equal")
    axes.grid(True)


def _only_vertical_grid(axes: Axes) -> None:
    axes.grid(True, axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _column(rows: Sequence[Mapping[str, float]], name: str) -> Any:
    return np.array([row[name] for row in rows], dtype=float)


def _draw_svg(name: str, inches: tuple[float, float], alt_text: str, draw: Callable[[Axes], None]) -> str:
    """Draw a new figure and return it as an SVG element; `name` makes the ids unique within the page."""
    with _matplotlib_lock, style.context(["default", _SETTINGS]):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    return _embed_svg(buffer.getvalue(), re.sub(r"\W+", "-", name), alt_text)


def _embed_svg(svg: str, name: str, alt_text: str) -> str:
    """Turn an SVG file of matplotlib into an element of a page, with unique ids and the page's fonts and colours."""
    head, body = svg[svg.index("<svg") :].split(">", 1)
    view = head.partition('viewBox="')[2].partition('"')[0]
    # A style sheet inside the SVG would apply to the whole page.
    body = re.sub(r"<!--.*?-->|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{name}-", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", body)
    for variable, color in COLORS.items():
        body = body.replace(color, f"var(--{variable})")
    body = " ".join(body.split())
    return f'<svg viewBox="{view}" role="img" aria-label="{escape(alt_text)}">{body}'
