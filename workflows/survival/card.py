"""The model card of a version (Mitchell et al. 2019), one self-contained HTML page.

It documents the purpose, evaluation and explanation of the model, and has a data sheet (Gebru et al. 2021). The page
loads no other file, runs no script, and is the same for the same version.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sklearn.pipeline import Pipeline

from workflows.common.html import sandboxed_frame
from workflows.sql_python.passengers import ATTRIBUTE_NAMES, CLASSES, COLUMNS, PORTS, TARGET, Column
from workflows.survival.evaluation import MODEL
from workflows.survival.features import FEATURES
from workflows.survival.inference import predict_batch
from workflows.survival.registry import Version

CARD_FILE = "card.html"
TEMPLATE = "card.html.j2"
# Number of contributions that are shown one by one; the others are summed.
CONTRIBUTIONS_SHOWN = 7
AGE_BANDS_YEARS: Mapping[str, tuple[float, float]] = {
    "under 13": (0, 13),
    "13 to 24": (13, 25),
    "25 to 39": (25, 40),
    "40 to 59": (40, 60),
    "60 and over": (60, math.inf),
}
UNKNOWN = "unknown"
_SEXES = {"female": "women and girls", "male": "men and boys"}
_NORMAL_95 = 1.959964

# Meaning and unit of each column.
COLUMN_NOTES: Mapping[str, tuple[str, str]] = {
    "passenger_id": ("key, one row each; not used by the model", ""),
    "survived": ("outcome: 1 survived, 0 died", ""),
    "pclass": ("class of the ticket, 1 is the best", ""),
    "_name": ("name with title", ""),
    "sex": ("sex", ""),
    "age": ("age", "years"),
    "sibsp": ("siblings and spouses on board", "persons"),
    "parch": ("parents and children on board", "persons"),
    "ticket": ("ticket number, shared by people who travel together", ""),
    "fare": ("fare of the whole ticket", "pounds"),
    "cabin": ("cabin or cabins", ""),
    "embarked": ("port: C Cherbourg, Q Queenstown, S Southampton", ""),
}
METRIC_NOTES: Mapping[str, tuple[str, str]] = {
    "accuracy": ("accuracy", "share of correct predictions; higher is better"),
    "roc_auc": ("ROC AUC", "probability that a survivor is ranked above a victim; 0.5 is chance, higher is better"),
    "brier": ("Brier score", "mean squared error of the probability; lower is better"),
    "log_loss": ("log loss", "mean negative log-likelihood; lower is better"),
}
SPLIT_NOTES: Mapping[str, str] = {
    "stratified": "random folds with equal shares of survivors",
    "grouped": "passengers who share a ticket, mostly families, are in the same fold, so none of them helps to predict "
    "the others. This is the stricter evaluation; people who travelled together on several tickets may still be in "
    "several folds",
}
# Identifies the bundled passengers: some statements on the card are true for them only.
BUNDLED_DATA_SHA256 = "daa56cb539ab1c883ce7f010bd4bfff781dbb62a351ac892389c018b16b82600"


@dataclass(frozen=True)
class Example:
    """A passenger whose prediction the card explains.

    Attributes:
        rule: Why this passenger was chosen.
        position: Row in the table.
    """

    rule: str
    position: int


def model_card(
    metadata: Mapping[str, Any],
    pipeline: Pipeline,
    passengers: pd.DataFrame,
    predictions: pd.DataFrame | None = None,
) -> str:
    """Return the card of a version as HTML.

    Args:
        metadata: Metadata of the version, see `workflows.survival.registry.save`; `checks`, `promotion`, `seconds`
            and `git_commit` are optional.
        pipeline: The fitted model.
        passengers: The training data with the canonical columns, in the order of the evaluation.
        predictions: `Evaluation.predictions`. With them, examples and groups use held-out predictions; without them,
            predictions of the model that was fitted on these passengers.
    """
    # matplotlib takes half a second to import, and most processes that import this module render no card.
    from workflows.survival import plots  # noqa: PLC0415

    version = Version(str(metadata.get("version", "")), metadata, pipeline)
    explained = predict_batch(version, passengers)
    held_out = held_out_probability(predictions, len(passengers))
    probability = explained["probability"].to_numpy() if held_out is None else held_out
    metrics = metadata["metrics"]
    means = _importance(explained)
    groups = survival_by_group(passengers, probability)
    page: dict[str, Any] = {
        "metadata": metadata,
        "headline": _headline(metrics),
        "metric_notes": METRIC_NOTES,
        "split_notes": SPLIT_NOTES,
        "metrics": _metric_tables(metrics["table"]),
        "model": MODEL,
        "has_held_out": held_out is not None,
        "is_bundled": metadata["data_sha256"] == BUNDLED_DATA_SHA256,
        "calibration": [
            _calibration_plot(plots, split, metrics["calibration"][split], metrics["calibration_summary"][split])
            for split in metrics["calibration"]
        ],
        "roc": Markup(plots.roc(metrics["roc"], _roc_alt_text(metrics))),
        "confusion": [_confusion_plot(plots, split, counts) for split, counts in metrics["confusion"].items()],
        "importance": Markup(plots.importance(means, _importance_alt_text(means))),
        "features": [(name, mean, FEATURES[name].description) for name, mean in means.items()],
        "examples": [
            _example(plots, example, passengers, explained, held_out)
            for example in choose_examples(passengers, probability)
        ],
        "groups": groups,
        "group_plot": Markup(plots.groups(groups, _groups_alt_text(groups))),
        "columns": [_data_sheet_row(column, passengers[column.name]) for column in COLUMNS],
        "missing_by_outcome": _missing_by_outcome(passengers),
    }
    return _template().render(page)


def as_block_output(html: str, version: str) -> pd.DataFrame:
    """Return a card as a table that Mage's UI renders as a page.

    The UI renders HTML if every cell of a table is HTML, and `mage_server` lets it where each is a sandboxed frame.
    """
    return pd.DataFrame({"model_card": [sandboxed_frame(html, f"Model card of version {version}")]})


def held_out_probability(predictions: pd.DataFrame | None, passengers: int) -> npt.NDArray[np.float64] | None:
    """Return each passenger's mean held-out probability over the repeats of the first split, None if one is missing."""
    if predictions is None or predictions.empty:
        return None
    first = predictions[predictions["split"] == predictions["split"].iloc[0]]
    means = first.groupby("row")["probability"].mean().reindex(range(passengers))
    return None if means.isna().any() else means.to_numpy(dtype=float)


def choose_examples(passengers: pd.DataFrame, probability: npt.NDArray[np.float64]) -> list[Example]:
    """Choose different passengers: the most certain survivor and victim, the most uncertain, and the most wrong."""
    outcome = passengers[TARGET].to_numpy(dtype=float)
    # Each rule chooses the first passenger with the smallest value; infinite means not eligible.
    rules = {
        "the most certain survivor": np.where(outcome == 1, -probability, np.inf),
        "the most certain victim": np.where(outcome == 0, probability, np.inf),
        "the most uncertain": np.abs(probability - 0.5),
        "the most wrong": -np.abs(probability - outcome),
    }
    chosen: list[Example] = []
    for rule, values in rules.items():
        eligible = values.copy()
        eligible[[example.position for example in chosen]] = np.inf
        position = int(np.argmin(eligible))
        if math.isfinite(eligible[position]):
            chosen.append(Example(rule, position))
    return chosen


def survival_by_group(passengers: pd.DataFrame, probability: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    """Compare observed and predicted survival by sex, class, age and port.

    Returns:
        One dictionary per group: `attribute`, `name`, `passengers` (count), `survived` (share), `low` and `high` (its
        95 % confidence interval) and `predicted` (mean probability).
    """
    attributes: dict[str, tuple[npt.NDArray[np.object_], Iterable[str]]] = {
        "sex": (_category_names(passengers["sex"], _SEXES), _SEXES.values()),
        "class": (_category_names(passengers["pclass"], CLASSES), CLASSES.values()),
        "age": (_age_band(passengers["age"]), AGE_BANDS_YEARS),
        "port": (_category_names(passengers["embarked"], PORTS), PORTS.values()),
    }
    outcome = passengers[TARGET].to_numpy(dtype=float)
    rows: list[dict[str, Any]] = []
    for attribute, (values, names) in attributes.items():
        for name in [*names, UNKNOWN]:
            members = values == name
            count = int(members.sum())
            if count:
                share = float(outcome[members].mean())
                low, high = wilson_interval(share, count)
                predicted = float(probability[members].mean())
                rows.append(
                    {"attribute": attribute, "name": name, "passengers": count, "survived": share}
                    | {"low": low, "high": high, "predicted": predicted}
                )
    return rows


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the limits of the 95 % confidence interval of a share of `count` passengers (Wilson 1927)."""
    square = _NORMAL_95**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _NORMAL_95 * math.sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _format_number
    environment.filters["percent"] = _format_percent
    return environment.get_template(TEMPLATE)


def _importance(explained: pd.DataFrame) -> dict[str, float]:
    """Return the mean absolute contribution of each feature, the largest first."""
    sizes = {name: float(explained[name].abs().mean()) for name in FEATURES}
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))


def _metric_tables(table: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each split: `classifier`, and `values` with mean and spread of each metric."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        values = {name: (row[name], row[f"{name}_spread"]) for name in METRIC_NOTES if name in row}
        tables.setdefault(row["split"], []).append({"classifier": row["classifier"], "values": values})
    return tables


def _headline(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics of the model in each split."""
    return [
        {"split": row["split"], "values": {name: row[name] for name in METRIC_NOTES if name in row}}
        for row in metrics["table"]
        if row["classifier"] == MODEL
    ]


def _calibration_plot(
    plots: Any, split: str, bins: Sequence[Mapping[str, Any]], summary: Mapping[str, float]
) -> dict[str, Any]:
    points = ", ".join(
        f"{_format_percent(b['predicted'])} predicted, {_format_percent(b['survived'])} survived" for b in bins
    )
    alt_text = (
        f"Calibration, {split} split: expected calibration error "
        f"{summary['expected_calibration_error']:.3f}, slope {summary['slope']:.2f}, intercept "
        f"{summary['intercept']:.2f}. From the least to the most likely: {points}."
    )
    return {"split": split, "svg": Markup(plots.calibration(bins, split, alt_text)), "summary": summary}


def _roc_alt_text(metrics: Mapping[str, Any]) -> str:
    areas = [
        f"{row['split']} {row['roc_auc']:.3f} ± {row['roc_auc_spread']:.3f}"
        for row in metrics["table"]
        if row["classifier"] == MODEL
    ]
    rates = [
        f"{split} {_format_percent(point['true_positive_rate'])}"
        for split, points in metrics["roc"].items()
        for point in [min(points, key=lambda point: abs(point["false_positive_rate"] - 0.1))]
    ]
    return (
        f"ROC curves. Area under the curve: {', '.join(areas)}. "
        f"True positive rate at a false positive rate of 10 %: {', '.join(rates)}."
    )


def _confusion_plot(plots: Any, split: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    (true_negative, false_positive), (false_negative, true_positive) = counts["mean"]
    alt_text = (
        f"Confusion matrix, {split} split, mean of the repeats: {true_positive:.0f} survivors and "
        f"{true_negative:.0f} victims predicted correctly, {false_negative:.0f} survivors predicted to die, "
        f"{false_positive:.0f} victims predicted to survive."
    )
    return {"split": split, "svg": Markup(plots.confusion(counts["mean"], counts["spread"], split, alt_text))}


def _importance_alt_text(means: Mapping[str, float]) -> str:
    sizes = ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
    return f"Mean absolute contribution of each feature in log-odds: {sizes}."


def _groups_alt_text(groups: Sequence[Mapping[str, Any]]) -> str:
    shares = "; ".join(
        f"{group['attribute']} {group['name']}: {_format_percent(group['survived'])} of {group['passengers']} "
        f"survived, {_format_percent(group['predicted'])} predicted"
        for group in groups
    )
    return f"Survival by group. {shares}."


def _example(
    plots: Any,
    example: Example,
    passengers: pd.DataFrame,
    explained: pd.DataFrame,
    held_out: npt.NDArray[np.float64] | None,
) -> dict[str, Any]:
    """Return what the template shows of one example passenger."""
    prediction = explained.iloc[example.position]
    base_value, probability = float(prediction["base_value"]), float(prediction["probability"])
    contributions = {name: float(prediction[name]) for name in FEATURES}
    ordered = sorted(contributions, key=lambda name: (-abs(contributions[name]), name))
    parts = {name: contributions[name] for name in ordered[:CONTRIBUTIONS_SHOWN]}
    others = ordered[CONTRIBUTIONS_SHOWN:]
    if others:
        parts[f"{len(others)} others"] = sum(contributions[name] for name in others)
    log_odds = base_value + sum(contributions.values())
    listed = ", ".join(f"{name} {value:+.2f}" for name, value in parts.items())
    alt_text = (
        f"Contributions for {example.rule}: {listed}. With the base value {base_value:+.2f} they add up to "
        f"{log_odds:+.2f}, a probability of {_format_percent(probability)}."
    )
    row = passengers.iloc[example.position]
    return {
        "rule": example.rule,
        "passenger_id": int(row["passenger_id"]),
        "survived": bool(row[TARGET]),
        "attributes": [(name, None if pd.isna(row[name]) else row[name]) for name in ATTRIBUTE_NAMES],
        "held_out": None if held_out is None else float(held_out[example.position]),
        "probability": probability,
        "base_value": base_value,
        "log_odds": log_odds,
        "svg": Markup(plots.contributions(parts, example.rule, alt_text)),
    }


def _data_sheet_row(column: Column, values: pd.Series) -> dict[str, Any]:
    known = values.dropna()
    if known.empty:
        contents = "no value"
    elif column.kind != "text":
        contents = (
            f"{_format_number(known.min())} to {_format_number(known.max())}, median {_format_number(known.median())}"
        )
    elif column.choices:
        counts = known.value_counts()
        contents = ", ".join(f"{choice} {counts.get(choice, 0)}" for choice in column.choices)
    else:
        contents = f"{known.nunique()} different values"
    meaning, unit = COLUMN_NOTES[column.name]
    kinds = {"int": "whole number", "float": "number", "text": "text"}
    return {
        "name": column.name,
        "meaning": meaning,
        "type": kinds[column.kind],
        "unit": unit,
        "missing": float(values.isna().mean()),
        "contents": contents,
    }


def _missing_by_outcome(passengers: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Return each column with missing values, and the missing share among survivors and among victims."""
    missing = passengers.isna()
    survivors = passengers[TARGET] == 1
    return [
        (name, float(missing.loc[survivors, name].mean()), float(missing.loc[~survivors, name].mean()))
        for name in ATTRIBUTE_NAMES
        if missing[name].any()
    ]


def _category_names(values: pd.Series, names: Mapping[Any, str]) -> npt.NDArray[np.object_]:
    return values.map(names).fillna(UNKNOWN).to_numpy(dtype=object)


def _age_band(age_years: pd.Series) -> npt.NDArray[np.object_]:
    bands = pd.Series(UNKNOWN, index=age_years.index, dtype=object)
    for name, (low, high) in AGE_BANDS_YEARS.items():
        bands[(age_years >= low) & (age_years < high)] = name
    return bands.to_numpy(dtype=object)


def _format_number(value: Any) -> str:
    """Return a number with thousands separators or four significant digits, and any other value as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def _format_percent(value: float) -> str:
    """Return a share as percent; one below 1 % or above 99 % gets a decimal, so that it is not shown as 0 or 100 %."""
    percent = 100 * value
    return f"{percent:.1f} %" if 0 < percent < 1 or 99 < percent < 100 else f"{percent:.0f} %"
