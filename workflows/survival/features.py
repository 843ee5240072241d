"""What the model looks at: one function from a passenger to numbers, for training and serving alike."""

import copy
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from workflows.sql_python.passengers import ATTRIBUTE_NAMES, Value

NAN = math.nan
# Boys were styled Master up to about twelve.
BOY_AGE_YEARS = 13


@dataclass(frozen=True)
class Feature:
    """One input of the model.

    Args:
        description: What the number means, in words that fit an explanation.
        attributes: The passenger's attributes that it comes from.
        direction: 1 where more can only raise the predicted probability, -1 where it can only lower it, 0
            where the data decide.
    """

    description: str
    attributes: tuple[str, ...]
    direction: int = 0


FEATURES: dict[str, Feature] = {
    "is_female": Feature("is a woman or a girl", ("sex",), 1),
    "pclass": Feature("class of the ticket, 1 the best", ("pclass",), -1),
    "age": Feature("age in years", ("age",)),
    "fare": Feature("fare of the ticket in pounds", ("fare",)),
    "fare_per_person": Feature("fare divided by the people who travel together", ("fare", "ticket")),
    "family_size": Feature("the passenger and relatives on board", ("sibsp", "parch")),
    "group_size": Feature("people who travel together, by family or ticket", ("sibsp", "parch", "ticket")),
    "is_woman_or_boy": Feature("a woman, a girl or a boy by sex, title and age", ("sex", "_name", "age"), 1),
    "has_rare_title": Feature("an officer's, clergyman's, doctor's or noble title", ("_name",)),
    "deck": Feature("deck of the cabin, 1 for A at the top", ("cabin",)),
    "boarded_at_southampton": Feature("came on board at Southampton", ("embarked",)),
    "ticket_number": Feature("number at the end of the ticket", ("ticket",)),
    "ticket_length": Feature("characters of the ticket, which tell the series it was sold in", ("ticket",)),
    # Men are left out: nearly all died, whoever was with them.
    "companions_survived": Feature(
        "share of known women, girls and boys on the same ticket who survived", ("ticket", "_name"), 1
    ),
}
FEATURE_NAMES: tuple[str, ...] = tuple(FEATURES)

_DECKS = {letter: number for number, letter in enumerate("ABCDEFGT", start=1)}
_COMMON_TITLES = {
    "mr": "man",
    "master": "boy",
    "miss": "woman",
    "ms": "woman",
    "mlle": "woman",
    "mrs": "woman",
    "mme": "woman",
}
_RARE_TITLES = frozenset(
    "capt col countess don dona dr jonkheer lady major rev sir".split()  # noqa: SIM905
)
_TITLE = re.compile(r"(?:the\s+)?([a-z]+)(\.?)(?:\s+|$)", re.IGNORECASE)
_TICKET_NUMBER = re.compile(r"\d+$")
# What tells people on one ticket apart; class, fare, cabin and port are those of the ticket.
_PERSONAL = ("sex", "age", "sibsp", "parch")
# Hundreds of digits would be infinite, which XGBoost refuses.
_LARGEST_TICKET_NUMBER = 1e9


def title_of(name: str) -> str | None:
    """Return `man`, `boy`, `woman` or `rare` from the title in a name; None where it has no known title.

    A title follows the comma (`Kim, Mr. Min`) or stands first (`Mr Min Kim`). Rare ones need their full
    stop, because `Don` and `Major` are also given names.
    """
    return _parse_name(name)[0]


def _parse_name(name: str) -> tuple[str | None, str]:
    """Return the title as `title_of` does, and the name without it, in lower case."""
    surname, comma, rest = name.partition(",") if "," in name else ("", "", name)
    rest = rest.strip()
    match = _TITLE.match(rest)
    word = match.group(1).lower() if match else ""
    title = _COMMON_TITLES.get(word)
    if title is None and match and match.group(2) and word in _RARE_TITLES:
        title = "rare"
    if match and title is not None:
        rest = rest[match.end() :]
    return title, f"{surname.strip()}{comma}{rest}".lower()


def deck_of(cabin: str) -> str:
    """Return the letter of the deck, the first one of a cabin such as `C23 C25 C27` or `F G73`."""
    return cabin[:1].upper()


@dataclass(frozen=True)
class _Companion:
    """A passenger of the training part, as others on the same ticket see them.

    The name is without its title; `personal` are the values of `_PERSONAL`.
    """

    name: str | None
    personal: tuple[Value, ...]
    is_woman_or_boy: bool
    survived: float


class PassengerFeatures(TransformerMixin, BaseEstimator):
    """Turn passengers into `FEATURE_NAMES`, float32, NaN where an input is missing.

    Learned from the training part alone: who held which ticket and survived, and which tickets, decks and
    ports occurred. Nobody is their own companion: rows of the same ticket with the same name, whatever the title,
    or with the same sex, age and relatives on board, are the passenger; where callers give no title, what they leave
    out of these does not tell apart either. A row of the training part therefore gets the same features at fitting
    and later, with nothing of its own outcome in them, and a new passenger gets them too.
    """

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Learn the groups and the values known.

        Args:
            X: Passengers with the attribute columns, one row each; rows without a ticket join no group.
            y: Whether each survived, 0 or 1.
        """
        companions: dict[str, list[_Companion]] = defaultdict(list)
        seen: dict[str, set[Value]] = {"deck": set(), "embarked": set(), "title": set()}
        for record, survived in zip(_records(X), np.asarray(y, dtype=float), strict=True):
            ticket, cabin = record["ticket"], record["cabin"]
            title, name = _title_and_name(record)
            if ticket is not None:
                woman_or_boy = _is_woman_or_boy(record["sex"], title, _number(record["age"])) == 1
                companions[str(ticket)].append(_Companion(name, _personal(record), woman_or_boy, float(survived)))
            if cabin is not None:
                seen["deck"].add(deck_of(str(cabin)))
            seen["title"].add(title)
            seen["embarked"].add(record["embarked"])
        self.companions_ = dict(companions)
        self.seen_ = {key: frozenset(values - {None}) for key, values in seen.items()}
        self.ranges_ = {
            name: (float(X[name].min()), float(X[name].max())) for name in ("pclass", "age", "sibsp", "parch", "fare")
        }
        return self

    def without_companions(self) -> Self:
        """Return a copy that knows nobody: everyone's features come out as those of a stranger."""
        check_is_fitted(self, "companions_")
        other = copy.copy(self)
        other.companions_ = {}
        return other

    def transform(self, X: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Return an array of shape (passengers, features); no row depends on another."""
        check_is_fitted(self, "companions_")
        rows = [self.row(record) for record in _records(X)]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(FEATURE_NAMES))

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:  # noqa: ARG002
        """Names of the columns of `transform`."""
        return np.array(FEATURE_NAMES, dtype=object)

    def row(self, passenger: Mapping[str, Value]) -> list[float]:
        """Return the features of one passenger, given the ten attributes with None where missing."""
        title, name = _title_and_name(passenger)
        others = self._companions(passenger, title, name)
        fates = [other.survived for other in others if other.is_woman_or_boy]
        family = _number(passenger["sibsp"]) + _number(passenger["parch"]) + 1
        group = max(family, len(others) + 1) if not math.isnan(family) else NAN
        fare = _number(passenger["fare"])
        ticket = None if passenger["ticket"] is None else str(passenger["ticket"])
        number = _TICKET_NUMBER.search(ticket) if ticket else None
        features = {
            "is_female": NAN if passenger["sex"] is None else float(passenger["sex"] == "female"),
            "pclass": _number(passenger["pclass"]),
            "age": _number(passenger["age"]),
            "fare": fare,
            "fare_per_person": fare / group,
            "family_size": family,
            "group_size": group,
            "is_woman_or_boy": _is_woman_or_boy(passenger["sex"], title, _number(passenger["age"])),
            "has_rare_title": NAN if title is None else float(title == "rare"),
            "deck": NAN if passenger["cabin"] is None else _DECKS.get(deck_of(str(passenger["cabin"])), NAN),
            "boarded_at_southampton": NAN if passenger["embarked"] is None else float(passenger["embarked"] == "S"),
            "ticket_number": min(float(number.group()), _LARGEST_TICKET_NUMBER) if number else NAN,
            "ticket_length": float(len(ticket)) if ticket else NAN,
            "companions_survived": sum(fates) / len(fates) if fates else NAN,
        }
        return [features[name] for name in FEATURE_NAMES]

    def unseen(self, passenger: Mapping[str, Value]) -> list[str]:
        """Name the attributes whose value tells the model nothing it learned, or lies outside its range.

        A name counts by its title, a cabin by its deck, a ticket by its group.
        """
        learned: dict[str, bool] = {
            "_name": passenger["_name"] is None or title_of(str(passenger["_name"])) in self.seen_["title"],
            "ticket": str(passenger["ticket"]) in self.companions_,
            "cabin": passenger["cabin"] is None or deck_of(str(passenger["cabin"])) in self.seen_["deck"],
            "embarked": passenger["embarked"] in self.seen_["embarked"],
        }
        for name, (lowest, highest) in self.ranges_.items():
            learned[name] = lowest <= _number(passenger[name]) <= highest
        return [n for n in ATTRIBUTE_NAMES if passenger[n] is not None and not learned.get(n, True)]

    def _companions(self, passenger: Mapping[str, Value], title: str | None, name: str | None) -> list[_Companion]:
        """Return the known others on the same ticket; `name` is the passenger's, without its title."""
        group = self.companions_.get(str(passenger["ticket"]), [])
        if not group or passenger["ticket"] is None:
            return []
        personal = _personal(passenger)

        def is_the_passenger(other: _Companion) -> bool:
            return other.name == name or all(
                mine == theirs or (mine is None and title is None)
                for mine, theirs in zip(personal, other.personal, strict=True)
            )

        return [other for other in group if not is_the_passenger(other)]


def _records(X: pd.DataFrame) -> list[dict[str, Value]]:
    """Return the attributes of each row, None where missing."""
    columns: dict[str, list[Any]] = {}
    for name in ATTRIBUTE_NAMES:
        column = X[name]
        columns[name] = column.astype(object).where(column.notna(), None).tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _title_and_name(passenger: Mapping[str, Value]) -> tuple[str | None, str | None]:
    return (None, None) if passenger["_name"] is None else _parse_name(str(passenger["_name"]))


def _personal(passenger: Mapping[str, Value]) -> tuple[Value, ...]:
    return tuple(passenger[name] for name in _PERSONAL)


def _number(value: Value) -> float:
    return NAN if value is None else float(value)


def _is_woman_or_boy(sex: Value, title: str | None, age_years: float) -> float:
    if sex == "female" or title in {"woman", "boy"}:
        return 1.0
    if sex is None and title != "man":
        return NAN
    if title is not None:
        return 0.0
    return NAN if math.isnan(age_years) else float(age_years < BOY_AGE_YEARS)
