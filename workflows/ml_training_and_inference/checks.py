"""Checks of the training data, each with a severity.

If a check of severity error fails, nothing is trained and the serving version stays; a failed warning is logged and
kept with the version. Errors are data that no sound model can be trained on (schema, ranges, too few rows or outcomes)
and strong drift of an attribute. A broken source and a new population cause the same drift, so a person has to decide
(variable `accept_drift`). A random sample of single passengers drifts as well, because it separates people who
travelled together, and the model uses companions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2

from workflows.ml_training_and_inference.features import FEATURE_NAMES, PassengerFeatures, deck_of, title_of
from workflows.passengers.contract import (
    ATTRIBUTE_NAMES,
    ATTRIBUTES,
    COLUMNS,
    KEY,
    TARGET,
    Column,
    parse_value,
    travel_groups,
)

Profile = Mapping[str, Any]
Counts = npt.NDArray[np.float64]

MINIMUM_ROWS = 50
MINIMUM_SHARE_OF_AN_OUTCOME = 0.1
# Three quarters of the cabins are unknown; a larger share means that values were lost.
MAXIMUM_MISSING_SHARE = 0.9
# Common limits of the stability index (Siddiqi 2006): no drift below the first, strong drift from the second.
DRIFT = 0.1
STRONG_DRIFT = 0.25
# Share of pairs of samples from one population whose index stays below `chance_bound`.
CHANCE_QUANTILE = 0.999
# Added to each bin count, so that an empty bin does not make the index infinite.
SMOOTHING = 0.5


@dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Attributes:
        name: Name of the check.
        severity: Severity of a failure; after an `error` nothing is trained.
        passed: Whether the check passed.
        detail: What was found, as text.
    """

    name: str
    severity: Literal["error", "warning"]
    passed: bool
    detail: str


def check_data(
    df: pd.DataFrame, earlier: Profile | None = None, folds: int = 5, accept_drift: bool = False
) -> list[CheckResult]:
    """Check training data. Checks that need the result of a failed one are skipped.

    Args:
        df: Passengers with the canonical columns, as `as_frame` returns them; other columns are ignored.
        earlier: `profile` of the serving version's training data; None skips the comparison.
        folds: Number of folds of the evaluation: each needs both outcomes and tickets of its own.
        accept_drift: Whether strong drift is a warning instead of an error.
    """
    checks = [_check_columns(df)]
    for stage in (_check_schema, _check_ranges, lambda data: _check_counts(data, folds)):
        if not all(check.passed for check in checks):
            return checks
        checks += stage(df)
    if not all(check.passed for check in checks):
        return checks
    return [*checks, *_check_shares(df), *_check_drift(df, earlier, accept_drift)]


def profile(df: pd.DataFrame) -> dict[str, Any]:
    """Count the values of the outcome and of each attribute, for a later `check_data`; no passenger can be identified.

    Returns:
        JSON types: `rows` and `attributes`. A numeric attribute has `edges`, the deciles (a bin includes its right
        edge), `counts` per bin, and `missing`. Any other has `values` (count per value) and `missing`; names are
        counted by title, cabins by deck. Few passengers share a ticket, so features of the ticket are counted instead:
        the number at the end, the length, and the passengers per ticket.
    """
    attributes: dict[str, Any] = {}
    for name, values in _numeric_columns(df):
        known = values.dropna().to_numpy(dtype=float)
        edges = np.unique(np.quantile(known, np.arange(1, 10) / 10)) if known.size else np.array([])
        counts = _count_in_bins(known, edges)
        attributes[name] = {"edges": edges.tolist(), "counts": counts.tolist(), "missing": int(values.isna().sum())}
    for name, values in _categorical_columns(df):
        counted = values.dropna().astype(str).value_counts().sort_index()
        attributes[name] = {"values": counted.to_dict(), "missing": int(values.isna().sum())}
    return {"rows": len(df), "attributes": attributes}


def population_stability_index(earlier: Counts, now: Counts) -> float:
    """Return the distance between two distributions over the same bins, 0 if they are equal.

    PSI = Σ (q − p) ln(q / p) with the bins' shares p earlier and q now: the symmetric Kullback-Leibler divergence
    (Jeffreys 1946). Its use as a measure of drift: Siddiqi, Credit Risk Scorecards (2006). 0.5 is added to each count;
    bins that are empty in both distributions are ignored.
    """
    occupied = (earlier + now) > 0
    p, q = (counts[occupied] + SMOOTHING for counts in (earlier, now))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def chance_bound(earlier: Counts, now: Counts) -> float:
    """Return the stability index that two samples of one population rarely exceed.

    (1/n + 1/m) times the chi-squared quantile with (bins − 1) degrees of freedom: Yurdakul, Statistical Properties of
    Population Stability Index (2018).
    """
    bins = int(np.count_nonzero(earlier + now))
    if bins < 2:
        return 0.0
    return float((1 / earlier.sum() + 1 / now.sum()) * chi2.ppf(CHANCE_QUANTILE, bins - 1))


def _check_columns(df: pd.DataFrame) -> CheckResult:
    counts = {column.name: int((df.columns == column.name).sum()) for column in COLUMNS}
    wrong = [f"{name} is {'duplicated' if count else 'missing'}" for name, count in counts.items() if count != 1]
    return CheckResult("columns", "error", not wrong, ", ".join(wrong) or f"all {len(COLUMNS)} are present")


def _check_schema(df: pd.DataFrame) -> list[CheckResult]:
    wrong = [column.name for column in COLUMNS if not _has_type(df[column.name], column)]
    missing = {column.name: int(df[column.name].isna().sum()) for column in COLUMNS if column.required}
    incomplete = [f"{name} {count} times" for name, count in missing.items() if count]
    repeated = int(df[KEY].dropna().duplicated().sum())
    return [
        CheckResult("types", "error", not wrong, f"wrong type in {', '.join(wrong)}" if wrong else "as documented"),
        CheckResult(
            "required values",
            "error",
            not incomplete,
            f"missing: {', '.join(incomplete)}" if incomplete else "none is missing",
        ),
        CheckResult(
            "unique key",
            "error",
            not repeated,
            f"{KEY} repeats {repeated} times, it must be unique" if repeated else "one row per passenger",
        ),
    ]


def _has_type(values: pd.Series, column: Column) -> bool:
    if column.kind == "text":
        return all(isinstance(value, str) for value in values.dropna())
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _check_ranges(df: pd.DataFrame) -> list[CheckResult]:
    wrong = []
    for column in COLUMNS:
        problems = list(_wrong_values(df[column.name], column))
        if problems:
            more = f" and {len(problems) - 1} others" if len(problems) > 1 else ""
            wrong.append(f"{column.name}: {problems[0]}{more}")
    return [
        CheckResult(
            "ranges", "error", not wrong, "; ".join(wrong) or "all values are within the limits of their column"
        )
    ]


def _wrong_values(values: pd.Series, column: Column) -> Iterator[str]:
    for value in values.dropna().unique():
        try:
            if parse_value(column, value) is None and column.required:
                yield f"{value!r} means missing"
        except ValueError as error:
            yield str(error)


def _check_counts(df: pd.DataFrame, folds: int) -> list[CheckResult]:
    counts = {outcome: int((df[TARGET] == outcome).sum()) for outcome in (0, 1)}
    scarce, few = min(counts.items(), key=lambda item: item[1])
    # With fewer tickets, some training part of the grouped split would lack this outcome.
    groups = travel_groups(df)
    tickets = {outcome: int(groups[df[TARGET] == outcome].nunique()) for outcome in (0, 1)}
    narrow, fewest = min(tickets.items(), key=lambda item: item[1])
    return [
        CheckResult(
            "rows",
            "error",
            len(df) >= MINIMUM_ROWS,
            f"training needs at least {MINIMUM_ROWS} passengers, there are {len(df)}",
        ),
        CheckResult(
            "outcomes",
            "error",
            few >= folds,
            f"training needs at least {folds} passengers with {TARGET} = {scarce}, there are {few}",
        ),
        CheckResult(
            "tickets",
            "error",
            fewest >= folds,
            f"training needs passengers with {TARGET} = {narrow} on at least {folds} different tickets, "
            f"there are {fewest}",
        ),
    ]


def _check_shares(df: pd.DataFrame) -> list[CheckResult]:
    rate = float(df[TARGET].mean())
    balanced = MINIMUM_SHARE_OF_AN_OUTCOME <= rate <= 1 - MINIMUM_SHARE_OF_AN_OUTCOME
    checks = [CheckResult("class balance", "warning", balanced, f"{rate:.1%} survived")]
    for column in ATTRIBUTES:
        if not column.required:
            share = float(df[column.name].isna().mean())
            detail = f"{share:.1%} missing, expected at most {MAXIMUM_MISSING_SHARE:.0%}"
            checks.append(CheckResult(f"missing {column.name}", "warning", share <= MAXIMUM_MISSING_SHARE, detail))
    return checks


def _check_drift(df: pd.DataFrame, earlier: Profile | None, accepted: bool) -> Iterator[CheckResult]:
    if earlier is None:
        yield CheckResult("drift", "warning", True, "there is no earlier version to compare with")
        return
    numbers = dict(_numeric_columns(df))
    for name, now in profile(df)["attributes"].items():
        before = earlier["attributes"].get(name)
        if before is None:
            yield CheckResult(f"drift of {name}", "warning", True, "not in the profile of the serving version")
        elif name in numbers:
            counts = _count_in_bins(numbers[name].dropna().to_numpy(dtype=float), np.array(before["edges"]))
            yield _compare(name, [*before["counts"], before["missing"]], [*counts, now["missing"]], accepted)
        else:
            values = sorted({*before["values"], *now["values"]})
            then, today = (
                [*(side["values"].get(value, 0) for value in values), side["missing"]] for side in (before, now)
            )
            yield _compare(name, then, today, accepted)


def _compare(name: str, earlier: list[int], now: list[int], accepted: bool) -> CheckResult:
    before, after = np.array(earlier, dtype=float), np.array(now, dtype=float)
    index, by_chance = population_stability_index(before, after), chance_bound(before, after)
    passed = index < max(DRIFT, by_chance)
    strong = not passed and index >= STRONG_DRIFT
    detail = f"PSI {index:.3f}"
    if not passed:
        limit = max(STRONG_DRIFT if strong else DRIFT, by_chance)
        detail += f" against the data of the serving version, the limit is {limit:.2f}"
    if strong:
        detail += ", accepted" if accepted else ": strong drift; if it is intended, set the variable accept_drift"
    return CheckResult(f"drift of {name}", "error" if strong and not accepted else "warning", passed, detail)


def _numeric_columns(df: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    for column in ATTRIBUTES:
        if column.kind != "text":
            yield column.name, df[column.name]
    attributes = df.loc[:, list(ATTRIBUTE_NAMES)]
    # The features used here do not depend on the outcomes.
    features = PassengerFeatures().fit(attributes, np.zeros(len(df))).transform(attributes)
    for name in ("ticket_number", "ticket_length"):
        yield name, pd.Series(features[:, FEATURE_NAMES.index(name)])
    yield "passengers_per_ticket", df["ticket"].value_counts()


def _categorical_columns(df: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Yield the columns that are counted by value; names become titles and cabins decks, None if there is none."""
    yield TARGET, df[TARGET].astype(int)
    for column in ATTRIBUTES:
        if column.choices:
            yield column.name, df[column.name]
    yield "title", df["_name"].map(title_of, na_action="ignore")
    yield "deck", df["cabin"].map(deck_of, na_action="ignore")


def _count_in_bins(known: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.bincount(np.digitize(known, edges, right=True), minlength=len(edges) + 1)
