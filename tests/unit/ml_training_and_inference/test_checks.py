import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workflows.ml_training_and_inference.checks import (
    CheckResult,
    chance_bound,
    check_data,
    population_stability_index,
    profile,
)
from workflows.passengers.contract import COLUMN_NAMES

TICKET = ("ticket_number", "ticket_length", "passengers_per_ticket")
Change = Callable[[pd.DataFrame], pd.DataFrame]


def failed(checks: list[CheckResult]) -> dict[str, CheckResult]:
    return {check.name: check for check in checks if not check.passed}


def with_value(column: str, value: object) -> Change:
    def change(df: pd.DataFrame) -> pd.DataFrame:
        values = df[column].astype(object).where(df.index != 7, value)
        return df.assign(**{column: values if isinstance(value, str | None) else pd.to_numeric(values)})

    return change


def survivors_on_one_ticket(df: pd.DataFrame) -> pd.DataFrame:
    few = pd.concat([df[df["survived"] == 1].head(6), df[df["survived"] == 0].head(114)])
    return few.assign(ticket=few["ticket"].where(few["survived"] == 0, "one"))


def test_the_bundled_passengers_pass_every_check(titanic: pd.DataFrame) -> None:
    checks = check_data(titanic, profile(titanic))
    assert failed(checks) == {}
    assert len({check.name for check in checks}) == len(checks)
    for name in ("pclass", "age", "sibsp", "parch", "fare", "survived", "sex", "embarked", "title", "deck", *TICKET):
        assert f"drift of {name}" in {check.name for check in checks}


@pytest.mark.parametrize(
    ("change", "check", "detail"),
    [
        (lambda df: df.drop(columns=["fare", "sex"]), "columns", "sex is missing, fare is missing"),
        (lambda df: pd.concat([df, df[["age"]]], axis=1), "columns", "age is duplicated"),
        (lambda df: df.assign(fare=df["fare"].astype(str)), "types", "fare"),
        (lambda df: df.assign(survived=df["survived"].astype(bool)), "types", "survived"),
        (lambda df: df.assign(ticket=1), "types", "ticket"),
        (lambda df: pd.concat([df, df.head(3)]), "unique key", "passenger_id repeats 3 times"),
        (with_value("sex", None), "required values", "missing: sex 1 times"),
        (with_value("pclass", math.nan), "required values", "missing: pclass 1 times"),
        (with_value("pclass", 4), "ranges", "pclass: 4 is outside 1 to 3"),
        (with_value("survived", 2), "ranges", "survived: 2 is outside 0 to 1"),
        (with_value("fare", -1.0), "ranges", "fare: -1.0 is outside"),
        (with_value("fare", math.inf), "ranges", "fare: 'inf' is not a number"),
        (with_value("sibsp", 0.5), "ranges", "sibsp: '0.5' is not a whole number"),
        (with_value("sex", "x"), "ranges", "sex: 'x' is none of male, female"),
        (with_value("sex", "unknown"), "ranges", "sex: 'unknown' means missing"),
        (lambda df: df.head(49), "rows", "at least 50 passengers, there are 49"),
        (lambda df: df.head(0), "rows", "there are 0"),
        (lambda df: df[df["survived"] == 0], "outcomes", "5 passengers with survived = 1, there are 0"),
        (lambda df: df.assign(survived=(df.index > 4) * 1), "outcomes", "survived = 0, there are 5"),
        (lambda df: df.assign(ticket="one"), "tickets", "at least 5 different tickets, there are 1"),
        (survivors_on_one_ticket, "tickets", "survived = 1 on at least 5 different tickets, there are 1"),
    ],
)
def test_each_error_is_found_and_explained(titanic: pd.DataFrame, change: Change, check: str, detail: str) -> None:
    found = failed(check_data(change(titanic), folds=6 if "are 5" in detail else 5))
    assert check in found
    assert found[check].severity == "error"
    assert detail in found[check].detail


def test_all_wrong_columns_are_reported_together(titanic: pd.DataFrame) -> None:
    wrong = with_value("pclass", 4)(with_value("pclass", 4)(titanic)).assign(age=200.0)
    wrong.loc[3, "pclass"] = 9
    detail = failed(check_data(wrong))["ranges"].detail
    assert detail == "pclass: 9 is outside 1 to 3 and 1 others; age: 200.0 is outside 0 to 120"


@pytest.mark.parametrize("names", [[], ["company"]])
def test_row_order_and_additional_columns_do_not_matter(titanic: pd.DataFrame, names: list[str]) -> None:
    other = titanic.sample(frac=1, random_state=0).assign(**dict.fromkeys(names, "x"))
    assert failed(check_data(other, profile(titanic))) == {}
    assert profile(other) == profile(titanic)


def test_warnings(titanic: pd.DataFrame) -> None:
    scarce = titanic[(titanic["survived"] == 0) | (titanic.index % 8 == 0)]
    checks = failed(check_data(scarce.assign(age=np.nan)))
    assert set(checks) == {"class balance", "missing age"}
    assert {check.severity for check in checks.values()} == {"warning"}
    assert checks["missing age"].detail == "100.0% missing, expected at most 90%"


def test_a_profile_is_json_and_identifies_nobody(titanic: pd.DataFrame) -> None:
    kept = profile(titanic)
    assert json.loads(json.dumps(kept)) == kept
    assert kept["rows"] == 891
    for name, counts in kept["attributes"].items():
        inside = counts["counts"] if "counts" in counts else counts["values"].values()
        assert sum(inside) + counts["missing"] == (681 if name == "passengers_per_ticket" else 891)
    assert kept["attributes"]["age"]["missing"] == 177
    assert kept["attributes"]["title"]["values"]["boy"] == 40
    assert set(kept["attributes"]["deck"]["values"]) == set("ABCDEFGT")
    assert "ticket" not in kept["attributes"]
    text = json.dumps(kept)
    for column in ("_name", "cabin"):
        assert not [value for value in titanic[column].dropna().unique() if len(value) > 2 and f'"{value}"' in text]


DRIFTS: list[tuple[str, Change]] = [
    ("sex", lambda df: df.assign(sex=df["sex"].map({"male": "female", "female": "male"}))),
    ("survived", lambda df: df.assign(survived=df["survived"].where(df.index % 2 == 0, 1))),
    ("fare", lambda df: df.assign(fare=df["fare"] * 5)),
    ("age", lambda df: df.assign(age=df["age"].where(df.index % 2 == 0))),
    ("embarked", lambda df: df.assign(embarked=df["embarked"].where(df.index % 3 > 0, "Q"))),
    ("title", lambda df: df.assign(_name=df["_name"].str.replace(r",.*?\.", ",", regex=True))),
    ("deck", lambda df: df.assign(cabin=df["cabin"].fillna("A1"))),
    ("sibsp", lambda df: df.assign(sibsp=df["sibsp"] + 1)),
    ("pclass", lambda df: df.assign(pclass=4 - df["pclass"])),
]


@pytest.mark.parametrize(("name", "change"), DRIFTS, ids=[name for name, _ in DRIFTS])
def test_strong_drift_is_an_error_unless_it_is_accepted(titanic: pd.DataFrame, name: str, change: Change) -> None:
    found = failed(check_data(change(titanic), profile(titanic)))
    assert set(found) == {f"drift of {name}"}
    assert found[f"drift of {name}"].severity == "error"
    assert "the limit is 0.25: strong drift; if it is intended, set the variable accept_drift" in (
        found[f"drift of {name}"].detail
    )
    accepted = failed(check_data(change(titanic), profile(titanic), accept_drift=True))
    assert accepted[f"drift of {name}"].severity == "warning"
    assert "accepted" in accepted[f"drift of {name}"].detail


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda df: df.assign(ticket=[f"T{row}" for row in range(len(df))]), set(TICKET)),
        (lambda df: df.assign(ticket=df["ticket"] + "." + df.index.astype(str)), set(TICKET)),
        (lambda df: df.assign(ticket="00" + df["ticket"]), {"ticket_length"}),
        (lambda df: df.assign(ticket=df["ticket"].str.replace(r"\d$", "x", regex=True)), {"ticket_number"}),
        (lambda df: df.assign(ticket=df["ticket"].where(df.index % 2 == 0, "113572")), {"ticket_number"}),
    ],
)
def test_a_broken_column_of_tickets_is_an_error(titanic: pd.DataFrame, change: Change, names: set[str]) -> None:
    found = failed(check_data(change(titanic), profile(titanic)))
    assert {check.severity for check in found.values()} == {"error"}
    assert set(found) <= {f"drift of {name}" for name in TICKET}
    assert {f"drift of {name}" for name in names} <= set(found)


def test_an_attribute_that_the_earlier_profile_lacks_is_reported(titanic: pd.DataFrame) -> None:
    kept = profile(titanic)
    for name in (*TICKET, "deck"):
        del kept["attributes"][name]
    checks = {check.name: check for check in check_data(titanic, kept)}
    assert failed(list(checks.values())) == {}
    for name in (*TICKET, "deck"):
        assert checks[f"drift of {name}"].detail == "not in the profile of the serving version"


def test_some_drift_is_a_warning(titanic: pd.DataFrame) -> None:
    changed = titanic.assign(age=titanic["age"].where(titanic.index % 4 > 0))
    found = failed(check_data(changed, profile(titanic)))
    assert {name: check.severity for name, check in found.items()} == {"drift of age": "warning"}
    assert found["drift of age"].detail.endswith("the limit is 0.10")


def test_a_small_sample_of_the_same_passengers_does_not_drift(titanic: pd.DataFrame) -> None:
    """In most samples of 60 passengers some index exceeds 0.1 by chance."""
    above_the_limit = drifts = 0
    earlier = profile(titanic)
    for seed in range(30):
        checks = check_data(titanic.sample(60, random_state=seed), earlier)
        # Sampling single passengers separates those who travelled together, so this drift is real.
        checks = [check for check in checks if check.name != "drift of passengers_per_ticket"]
        indices = [float(check.detail.split()[1].rstrip(",")) for check in checks if check.name.startswith("drift of")]
        above_the_limit += max(indices) >= 0.1
        drifts += len(failed(checks))
    assert above_the_limit >= 25
    assert drifts == 0


def test_groups_of_a_small_sample_of_whole_tickets_do_not_drift(titanic: pd.DataFrame) -> None:
    earlier = profile(titanic)
    for seed in range(30):
        tickets = titanic["ticket"].drop_duplicates().sample(60, random_state=seed)
        checks = {check.name: check for check in check_data(titanic[titanic["ticket"].isin(tickets)], earlier)}
        assert checks["drift of passengers_per_ticket"].passed


def counts(*numbers: float) -> Any:
    return np.array(numbers, dtype=float)


def test_index_by_hand() -> None:
    # With 0.5 added to each of the two bins, the shares are 0.5 and 0.5, then 0.25 and 0.75.
    expected = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5)
    assert population_stability_index(counts(9.5, 9.5), counts(4.5, 14.5)) == pytest.approx(expected)
    assert population_stability_index(counts(5, 7, 0), counts(5, 7, 0)) == 0
    # A bin that is empty in both is ignored; a bin that is empty in one does not make the index infinite.
    assert population_stability_index(counts(5, 7, 0), counts(50, 7, 0)) == population_stability_index(
        counts(5, 7), counts(50, 7)
    )
    assert 0 < population_stability_index(counts(10, 0), counts(0, 10)) < 10


def test_bins_end_at_the_deciles(titanic: pd.DataFrame) -> None:
    kept = profile(titanic.head(100).assign(age=np.arange(1.0, 101.0)))["attributes"]["age"]
    assert kept["edges"] == pytest.approx([10.9, 20.8, 30.7, 40.6, 50.5, 60.4, 70.3, 80.2, 90.1])
    assert (kept["counts"], kept["missing"]) == ([10] * 10, 0)
    # A value on an edge belongs to the bin that ends there, so each class has its own bin.
    classes = profile(titanic)["attributes"]["pclass"]
    assert (classes["edges"], classes["counts"]) == ([1, 2, 3], [216, 184, 491, 0])


def test_chance_bound() -> None:
    assert chance_bound(counts(40, 60), counts(150, 50)) == pytest.approx((1 / 100 + 1 / 200) * 10.8276, rel=1e-4)
    assert chance_bound(counts(40, 0), counts(150, 0)) == 0


def test_an_attribute_that_was_always_missing_has_a_profile(titanic: pd.DataFrame) -> None:
    without = titanic.assign(age=np.nan, cabin=None)
    kept = profile(without)
    assert kept["attributes"]["age"] == {"edges": [], "counts": [0], "missing": 891}
    assert set(failed(check_data(titanic, kept))) == {"drift of age", "drift of deck"}
    assert set(COLUMN_NAMES) == set(titanic.columns)
