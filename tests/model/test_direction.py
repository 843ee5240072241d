"""Directional tests: a change of sex or class alone changes the prediction in the direction known from history."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from workflows.ml_training_and_inference.features import title_of

Probabilities = Callable[[pd.DataFrame], np.ndarray]

LEAST_SHARE = 0.95
# Rounding errors of sums in float32.
TOLERANCE = 1e-6
BOY_AGE_YEARS = 13
TO_WOMAN = {"Mr": "Mrs", "Master": "Miss", "Don": "Dona", "Sir": "Lady"}
TO_MAN = {"Mrs": "Mr", "Mme": "Mr", "Ms": "Mr", "Miss": "Mr", "Mlle": "Mr", "Lady": "Sir", "the Countess": "Sir"}
TITLES_OF = {"female": (TO_WOMAN, {"woman", "rare"}), "male": (TO_MAN, {"man", "boy", "rare"})}


def retitled(names: pd.Series, ages: pd.Series, titles: dict[str, str]) -> list[str]:
    changed = []
    for name, age_years in zip(names, ages, strict=True):
        surname, title, rest = re.split(r", |\.", name, maxsplit=2)
        title = titles.get(title, title)
        changed.append(f"{surname}, {'Master' if title == 'Mr' and age_years < BOY_AGE_YEARS else title}.{rest}")
    return changed


def everybody_as(sex: str, df: pd.DataFrame, with_title: bool) -> pd.DataFrame:
    """Return all passengers with the given sex; those who have it already are unchanged."""
    others = df["sex"] != sex
    changed = df.assign(sex=sex)
    if with_title:
        titles, kinds = TITLES_OF[sex]
        changed.loc[others, "_name"] = retitled(df.loc[others, "_name"], df.loc[others, "age"], titles)
        assert set(changed["_name"].map(title_of)) == kinds
    return changed


def strangers(df: pd.DataFrame) -> pd.DataFrame:
    """Return all passengers with an unknown ticket of the same length as their own."""
    return df.assign(ticket=[f"{ticket[:-1]}?" for ticket in df["ticket"]])


def check_rises(low: np.ndarray, high: np.ndarray, change: str, least_share: float = LEAST_SHARE) -> None:
    """At least `least_share` of the passengers must not lose by the change, and at least half must gain."""
    difference = high - low
    not_lower = float((difference >= -TOLERANCE).mean())
    higher = float((difference > TOLERANCE).mean())
    found = (
        f"{change}: not lower for {not_lower:.4f} and higher for {higher:.4f} of {len(low)} passengers, "
        f"by {difference.mean():.4f} in the mean, {difference.min():.4f} to {difference.max():.4f}"
    )
    assert not_lower >= least_share, found
    assert higher >= 0.5, found


@pytest.mark.parametrize("with_title", [True, False])
def test_women_and_girls_are_not_predicted_lower(
    titanic: pd.DataFrame, probabilities: Probabilities, with_title: bool
) -> None:
    assert len(titanic) == 891
    men, women = (probabilities(everybody_as(sex, titanic, with_title)) for sex in ("male", "female"))
    check_rises(men, women, f"male to female, with the title {with_title}")
    # Also separately for the men and for the women of the data.
    are_men = (titanic["sex"] == "male").to_numpy()
    check_rises(men[are_men], women[are_men], f"the men to women, with the title {with_title}")
    check_rises(men[~are_men], women[~are_men], f"the women from men, with the title {with_title}")


@pytest.mark.parametrize("name", ["their own", "Kim", None])
@pytest.mark.parametrize(("lower", "better"), [(3, 2), (2, 1), (3, 1)])
def test_better_classes_are_not_predicted_lower(
    titanic: pd.DataFrame, probabilities: Probabilities, lower: int, better: int, name: str | None
) -> None:
    """Whatever the name is: class does not identify the holder of a ticket."""
    asked = titanic if name == "their own" else titanic.assign(_name=name)
    low, high = (probabilities(asked.assign(pclass=pclass)) for pclass in (lower, better))
    check_rises(low, high, f"class {lower} to {better}, name {name}", least_share=1)


@pytest.mark.parametrize("name", ["Kim", None])
def test_women_and_girls_are_not_predicted_lower_whatever_their_name(
    titanic: pd.DataFrame, probabilities: Probabilities, name: str | None
) -> None:
    men, women = (probabilities(titanic.assign(_name=name, sex=sex)) for sex in ("male", "female"))
    check_rises(men, women, f"male to female, name {name}")


def test_for_strangers_there_is_no_exception(titanic: pd.DataFrame, probabilities: Probabilities) -> None:
    """Without companions no other feature depends on sex and class, so the constraints hold for every passenger."""
    unknown = strangers(titanic)
    assert not set(unknown["ticket"]) & set(titanic["ticket"])
    for with_title in (True, False):
        men, women = (probabilities(everybody_as(sex, unknown, with_title)) for sex in ("male", "female"))
        check_rises(men, women, f"male to female, strangers, with the title {with_title}", least_share=1)
    third, second, first = (probabilities(unknown.assign(pclass=pclass)) for pclass in (3, 2, 1))
    check_rises(third, second, "class 3 to 2, strangers", least_share=1)
    check_rises(second, first, "class 2 to 1, strangers", least_share=1)
