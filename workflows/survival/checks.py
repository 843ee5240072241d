"""Checks of the passengers before a model is trained on them, each with its severity.

An error means that nothing is trained, so the version that serves stays; a warning is logged and kept with the
version. Errors are what no sound model can come from (schema, ranges, too few rows or outcomes), and strong
drift of any attribute: a source that has broken and a new population look the same from here, so the change of
what serves waits for somebody who says which of them it is (`accept_drift`). Passengers drawn one by one from a
larger list drift as well: those who travelled together are torn apart, and the model looks at them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2

from workflows.sql_python.passengers import ATTRIBUTE_NAMES, ATTRIBUTES, COLUMNS, KEY, TARGET, Column, parse_value
from workflows.survival.features import FEATURE_NAMES, PassengerFeatures, deck_of, title_of

Profile = Mapping[str, Any]
Counts = npt.NDArray[np.float64]

MINIMUM_ROWS = 50
MINIMUM_SHARE_OF_AN_OUTCOME = 0.1
# Most cabins are unknown; where more is, something was lost.
MAXIMUM_MISSING_SHARE = 0.9
# The bounds in common use (Siddiqi 2006): below the first nothing has changed, from the second on much has.
DRIFT = 0.1
STRONG_DRIFT = 0.25
# Of two samples of one population, this share stays below the bound of chance.
CHANCE_QUANTILE = 0.999
# Added to each bin, so that an empty one does not make the index infinite.
SMOOTHING = 0.5


@dataclass(frozen=True)
class Check:
    """What one check found.

    Args:
        check: Its name.
        severity: Of a failure: an `error` means that nothing is trained.
        passed: Whether it passed.
        detail: What was found, in words.
    """

    check: str
    severity: Literal["error", "warning"]
    passed: bool
    detail: str


def check_data(
    df: pd.DataFrame, earlier: Profile | None = None, folds: int = 5, accept_drift: bool = False
) -> list[Check]:
    """Check what a model is to be trained on. What cannot be looked at because of an earlier error is left out.

    Args:
        df: Passengers with the canonical columns (others are not looked at), as `as_frame` makes them.
        earlier: `profile` of what the last version was trained on; None: there is no drift to be judged.
        folds: Parts of each split of the evaluation: each needs both outcomes and tickets of its own.
        accept_drift: Strong drift is a warning: the data are meant to be others.
    """
    checks = [_columns(df)]
    for stage in (_schema, _ranges, lambda data: _amounts(data, folds)):
        if not all(check.passed for check in checks):
            return checks
        checks += stage(df)
    if not all(check.passed for check in checks):
        return checks
    return [*checks, *_shares(df), *_drift(df, earlier, accept_drift)]


def profile(df: pd.DataFrame) -> dict[str, Any]:
    """Count the values of each attribute and the outcome, for a later `check_data`; holds no passenger.

    Returns:
        JSON types: `rows`, and `attributes`: numbers with the `edges` of their bins (the deciles, right edge
        included) and the `counts` in them; others with a count for each value, names by their title and cabins
        by their deck; `missing` in both. Of tickets, as hardly two passengers agree, what the model makes of them: the
        number at the end, the length, and, with a count for each ticket, how many passengers hold it.
    """
    attributes: dict[str, Any] = {}
    for name, values in _numbers(df):
        known = values.dropna().to_numpy(dtype=float)
        edges = np.unique(np.quantile(known, np.arange(1, 10) / 10)) if known.size else np.array([])
        counts = _in_bins(known, edges)
        attributes[name] = {"edges": edges.tolist(), "counts": counts.tolist(), "missing": int(values.isna().sum())}
    for name, values in _categories(df):
        counted = values.dropna().astype(str).value_counts().sort_index()
        attributes[name] = {"values": counted.to_dict(), "missing": int(values.isna().sum())}
    return {"rows": len(df), "attributes": attributes}


def population_stability_index(earlier: Counts, now: Counts) -> float:
    """Return how far two distributions over the same bins are apart: 0 where they are equal.

    PSI = Σ (q − p) ln(q / p), with the bins' shares p earlier and q now: the symmetric Kullback-Leibler divergence
    (Jeffreys 1946); as a measure of drift see Siddiqi, Credit Risk Scorecards (2006). Half a passenger is added
    to each bin; bins that are empty in both do not count.
    """
    occupied = (earlier + now) > 0
    p, q = (counts[occupied] + SMOOTHING for counts in (earlier, now))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def chance_bound(earlier: Counts, now: Counts) -> float:
    """Return the index that two samples of one population rarely exceed.

    (1/n + 1/m) times the chi-squared quantile with one degree of freedom less than there are bins: Yurdakul,
    Statistical Properties of Population Stability Index (2018).
    """
    bins = int(np.count_nonzero(earlier + now))
    if bins < 2:
        return 0.0
    return float((1 / earlier.sum() + 1 / now.sum()) * chi2.ppf(CHANCE_QUANTILE, bins - 1))


def _columns(df: pd.DataFrame) -> Check:
    counts = {column.name: int((df.columns == column.name).sum()) for column in COLUMNS}
    wrong = [f"{name} is {'there twice' if count else 'missing'}" for name, count in counts.items() if count != 1]
    return Check("columns", "error", not wrong, ", ".join(wrong) or f"all {len(COLUMNS)} are there")


def _schema(df: pd.DataFrame) -> list[Check]:
    wrong = [column.name for column in COLUMNS if not _has_type(df[column.name], column)]
    missing = {column.name: int(df[column.name].isna().sum()) for column in COLUMNS if column.required}
    lacking = [f"{name} {count} times" for name, count in missing.items() if count]
    repeated = int(df[KEY].dropna().duplicated().sum())
    return [
        Check("types", "error", not wrong, f"other types in {', '.join(wrong)}" if wrong else "as documented"),
        Check("required values", "error", not lacking, f"missing: {', '.join(lacking)}" if lacking else "all known"),
        Check(
            "unique key",
            "error",
            not repeated,
            f"one row per passenger is needed, {KEY} repeats {repeated} times" if repeated else "one row per passenger",
        ),
    ]


def _has_type(values: pd.Series, column: Column) -> bool:
    if column.kind == "text":
        return all(isinstance(value, str) for value in values.dropna())
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _ranges(df: pd.DataFrame) -> list[Check]:
    wrong = []
    for column in COLUMNS:
        problems = list(_wrong_values(df[column.name], column))
        if problems:
            more = f" and {len(problems) - 1} others" if len(problems) > 1 else ""
            wrong.append(f"{column.name}: {problems[0]}{more}")
    return [Check("ranges", "error", not wrong, "; ".join(wrong) or "all values keep the rules of their column")]


def _wrong_values(values: pd.Series, column: Column) -> Iterator[str]:
    for value in values.dropna().unique():
        try:
            if parse_value(column, value) is None and column.required:
                yield f"{value!r} means missing"
        except ValueError as error:
            yield str(error)


def _amounts(df: pd.DataFrame, folds: int) -> list[Check]:
    counts = {outcome: int((df[TARGET] == outcome).sum()) for outcome in (0, 1)}
    scarce, few = min(counts.items(), key=lambda item: item[1])
    # With all of an outcome on fewer tickets, a training part of the grouped split has the other one alone.
    tickets = {outcome: int(df.loc[df[TARGET] == outcome, "ticket"].nunique()) for outcome in (0, 1)}
    narrow, fewest = min(tickets.items(), key=lambda item: item[1])
    return [
        Check(
            "rows",
            "error",
            len(df) >= MINIMUM_ROWS,
            f"training needs at least {MINIMUM_ROWS} passengers, there are {len(df)}",
        ),
        Check(
            "outcomes",
            "error",
            few >= folds,
            f"training needs at least {folds} passengers with {TARGET} = {scarce}, there are {few}",
        ),
        Check(
            "tickets",
            "error",
            fewest >= folds,
            f"training needs passengers with {TARGET} = {narrow} on at least {folds} different tickets, "
            f"there are {fewest}",
        ),
    ]


def _shares(df: pd.DataFrame) -> list[Check]:
    rate = float(df[TARGET].mean())
    balanced = MINIMUM_SHARE_OF_AN_OUTCOME <= rate <= 1 - MINIMUM_SHARE_OF_AN_OUTCOME
    checks = [Check("class balance", "warning", balanced, f"{rate:.1%} survived")]
    for column in ATTRIBUTES:
        if not column.required:
            share = float(df[column.name].isna().mean())
            detail = f"{share:.1%} missing, up to {MAXIMUM_MISSING_SHARE:.0%} is usual"
            checks.append(Check(f"missing {column.name}", "warning", share <= MAXIMUM_MISSING_SHARE, detail))
    return checks


def _drift(df: pd.DataFrame, earlier: Profile | None, accepted: bool) -> Iterator[Check]:
    if earlier is None:
        yield Check("drift", "warning", True, "there is no earlier version to compare with")
        return
    before, now = earlier["attributes"], profile(df)["attributes"]
    for name, values in _numbers(df):
        then = before.get(name)
        if then is None:
            yield _not_counted(name)
            continue
        binned = _in_bins(values.dropna().to_numpy(dtype=float), np.array(then["edges"]))
        yield _compare(name, [*then["counts"], then["missing"]], [*binned, now[name]["missing"]], accepted)
    for name, _ in _categories(df):
        then, counted = before.get(name), now[name]
        if then is None:
            yield _not_counted(name)
            continue
        both = sorted({*then["values"], *counted["values"]})
        yield _compare(
            name,
            [*(then["values"].get(value, 0) for value in both), then["missing"]],
            [*(counted["values"].get(value, 0) for value in both), counted["missing"]],
            accepted,
        )


def _not_counted(name: str) -> Check:
    return Check(f"drift of {name}", "warning", True, "not counted in the last version")


def _compare(name: str, earlier: list[int], now: list[int], accepted: bool) -> Check:
    then, today = np.array(earlier, dtype=float), np.array(now, dtype=float)
    index, chance = population_stability_index(then, today), chance_bound(then, today)
    passed = index < max(DRIFT, chance)
    strong = not passed and index >= STRONG_DRIFT
    detail = f"PSI {index:.3f}"
    if not passed:
        detail += f" against the passengers of the last version, from {max(DRIFT, chance):.2f} on it counts"
    if strong:
        detail += (
            ", accepted" if accepted else ", which is much; set the variable accept_drift if they are meant to differ"
        )
    return Check(f"drift of {name}", "error" if strong and not accepted else "warning", passed, detail)


def _numbers(df: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    for column in ATTRIBUTES:
        if column.kind != "text":
            yield column.name, df[column.name]
    attributes = df.loc[:, list(ATTRIBUTE_NAMES)]
    # No outcome is in these.
    features = PassengerFeatures().fit(attributes, np.zeros(len(df))).transform(attributes)
    for name in ("ticket_number", "ticket_length"):
        yield name, pd.Series(features[:, FEATURE_NAMES.index(name)])
    yield "passengers_per_ticket", df["ticket"].value_counts()


def _categories(df: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """What is counted by its value: names by the title and cabins by the deck, None where there is none."""
    yield TARGET, df[TARGET].astype(int)
    for column in ATTRIBUTES:
        if column.choices:
            yield column.name, df[column.name]
    yield "title", df["_name"].map(title_of, na_action="ignore")
    yield "deck", df["cabin"].map(deck_of, na_action="ignore")


def _in_bins(known: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.bincount(np.digitize(known, edges, right=True), minlength=len(edges) + 1)
