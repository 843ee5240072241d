"""The model card of a version (Mitchell et al. 2019): purpose, evaluation, explanation, fairness and data.

One HTML page that loads no other file, runs no script and has no links, so that Mage's UI and MLflow's can show it.
"""

import base64
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from workflows.common.html import sandboxed_frame
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.evaluation import MODEL, Evaluation
from workflows.ml_training_and_inference.features import FEATURES
from workflows.ml_training_and_inference.inference import predict_batch
from workflows.passengers.contract import ATTRIBUTE_NAMES, CLASSES, PORTS, TARGET

CARD_FILE = "card.html"
TEMPLATE = "card.html.j2"
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
METRIC_NOTES: Mapping[str, str] = {
    "accuracy": "share of correct predictions",
    "roc_auc": "probability that a survivor is ranked above a victim; 0.5 is chance",
    "brier": "mean squared error of the probability; lower is better",
    "log_loss": "mean negative log-likelihood; lower is better",
}
# Identifies the bundled passengers: some statements on the card are true for them only.
BUNDLED_DATA_SHA256 = "daa56cb539ab1c883ce7f010bd4bfff781dbb62a351ac892389c018b16b82600"


def model_card(
    version: Version, record: Mapping[str, Any], passengers: pd.DataFrame, evaluation: Evaluation
) -> dict[str, str]:
    """Return the card of a version, and its plots, as files by path.

    Args:
        version: The fitted model.
        record: What was recorded when it was trained.
        passengers: The training data with the canonical columns, in the order of the evaluation.
        evaluation: Its held-out predictions; groups are compared by them.
    """
    # matplotlib takes half a second to import, and most processes that import this module render no card.
    from workflows.ml_training_and_inference import plots  # noqa: PLC0415

    contributions = predict_batch(version, passengers)[list(FEATURES)].abs().mean()
    ordered = contributions.sort_values(ascending=False, kind="stable")
    importance = {str(name): float(mean) for name, mean in ordered.items()}
    groups = survival_by_group(passengers, held_out_probability(evaluation, len(passengers)))
    drawn = {
        "calibration": plots.calibration(evaluation),
        "roc": plots.roc(evaluation),
        "importance": plots.importance(importance),
        "groups": plots.groups(groups),
    }
    page = {
        "version": version.name,
        "record": record,
        "model": MODEL,
        "metric_notes": METRIC_NOTES,
        "splits": list(dict.fromkeys(row["split"] for row in record["metrics"])),
        "calibration": {split: evaluation.calibration_summary(split) for split in evaluation.scores["split"].unique()},
        "features": [(name, mean, FEATURES[name].description) for name, mean in importance.items()],
        "groups": groups,
        "missing": _missing_by_outcome(passengers),
        "is_bundled": record["data_sha256"] == BUNDLED_DATA_SHA256,
        "plots": {name: _data_url(svg) for name, svg in drawn.items()},
    }
    return {CARD_FILE: _template().render(page), **{f"plots/{name}.svg": svg for name, svg in drawn.items()}}


def as_block_output(html: str, version: str) -> pd.DataFrame:
    """Return a card as a table that Mage's UI renders as a page.

    The UI renders HTML if every cell of a table is HTML, and `mage_server` lets it where each is a sandboxed frame.
    """
    return pd.DataFrame({"model_card": [sandboxed_frame(html, f"Model card of version {version}")]})


def held_out_probability(evaluation: Evaluation, passengers: int) -> npt.NDArray[np.float64]:
    """Return each passenger's mean held-out probability over the repeats of the first split."""
    first = evaluation.predictions[evaluation.predictions["split"] == evaluation.predictions["split"].iloc[0]]
    return first.groupby("row")["probability"].mean().reindex(range(passengers)).to_numpy(dtype=float)


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
    environment.filters["percent"] = _format_percent
    return environment.get_template(TEMPLATE)


def _data_url(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


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


def _format_percent(value: float) -> str:
    """Return a share as percent; one below 1 % or above 99 % gets a decimal, so that it is not shown as 0 or 100 %."""
    percent = 100 * value
    return f"{percent:.1f} %" if 0 < percent < 1 or 99 < percent < 100 else f"{percent:.0f} %"
