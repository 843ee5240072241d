"""The features of the model. Training and serving compute them with the same code."""

import copy
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from workflows.passengers.contract import ATTRIBUTE_NAMES, Value

NAN = math.nan
# Boys had the title Master until about the age of twelve.
BOY_AGE_YEARS = 13


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        description: Meaning of the number, as text for an explanation.
        attributes: The attributes of the passenger that it is computed from.
        direction: Monotonic constraint: 1 if a larger value never lowers the predicted probability, -1 if it never
            raises it, 0 without a constraint.
    """

    description: str
    attributes: tuple[str, ...]
    direction: int = 0


FEATURES: dict[str, Feature] = {
    "is_female": Feature("is a woman or a girl", ("sex",), 1),
    "pclass": Feature("class of the ticket, 1 is the best", ("pclass",), -1),
    "age": Feature("age in years", ("age",)),
    "fare": Feature("fare of the ticket in pounds", ("fare",)),
    "fare_per_person": Feature("fare divided by the number of people who travel together", ("fare", "ticket")),
    "family_size": Feature("number of relatives on board and the passenger", ("sibsp", "parch")),
    "group_size": Feature("number of people who travel together, by family or ticket", ("sibsp", "parch", "ticket")),
    "is_woman_or_boy": Feature("a woman, a girl or a boy by sex, title and age", ("sex", "_name", "age"), 1),
    "has_rare_title": Feature("an officer's, clergyman's, doctor's or noble title", ("_name",)),
    "deck": Feature("deck of the cabin, 1 for A at the top", ("cabin",)),
    "boarded_at_southampton": Feature("came on board at Southampton", ("embarked",)),
    "ticket_number": Feature("number at the end of the ticket", ("ticket",)),
    "ticket_length": Feature("number of characters of the ticket, which depends on its series", ("ticket",)),
    # Without men: nearly all of them died, whoever travelled with them.
    "companions_survived": Feature(
        "share of survivors among the other known women, girls and boys on the same ticket", ("ticket", "_name"), 1
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
# Attributes that differ between people on one ticket; class, fare, cabin and port belong to the ticket.
_PERSONAL = ("sex", "age", "sibsp", "parch")
# Hundreds of digits would become infinite, which XGBoost refuses.
_LARGEST_TICKET_NUMBER = 1e9


def title_of(name: str) -> str | None:
    """Return the kind of the title in a name: `man`, `boy`, `woman` or `rare`, None without a known title.

    A title follows the comma (`Kim, Mr. Min`) or comes first (`Mr Min Kim`). Rare titles need a full stop, because
    `Don` and `Major` are also given names.
    """
    return _parse_name(name)[0]


# Evaluation parses each name a few hundred times.
@lru_cache(maxsize=4096)
def _parse_name(name: str) -> tuple[str | None, str]:
    """Return the kind of the title (see `title_of`), and the name without title in lower case."""
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
    """Return the letter of the deck, which is the first letter of a cabin such as `C23 C25 C27` or `F G73`."""
    return cabin[:1].upper()


@dataclass(frozen=True)
class _Companion:
    """A passenger of the training part as a companion of others on the same ticket.

    Attributes:
        name: Name without title, in lower case.
        personal: Values of the attributes `_PERSONAL`.
        is_woman_or_boy: Whether the passenger is a woman, girl or boy.
        survived: 1 or 0.
    """

    name: str | None
    personal: tuple[Value, ...]
    is_woman_or_boy: bool
    survived: float


class PassengerFeatures(TransformerMixin, BaseEstimator):
    """Compute the features `FEATURE_NAMES` of passengers as float32, NaN if an input is missing.

    Fitting learns from the training part who held which ticket and survived, and which titles, decks and ports occur.

    Nobody counts as their own companion. A row with the same ticket is the same person if the name without title is
    equal, or if sex, age and relatives on board are equal. Without a title, attributes that the caller does not give
    count as equal. So a passenger of the training part gets the same features when the model is fitted and later, and
    none of them depends on the passenger's own outcome.
    """

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Learn the groups of companions and the values that occur.

        Args:
            X: One row per passenger with the attribute columns; a passenger without a ticket belongs to no group.
            y: Outcome of each passenger, 0 or 1.
        """
        return self.fit_records(records_of(X), y)

    def fit_records(self, records: Sequence[Mapping[str, Value]], y: npt.ArrayLike) -> Self:
        """Learn as `fit` does from passengers as dictionaries of the ten attributes; None means missing."""
        companions: dict[str, list[_Companion]] = defaultdict(list)
        seen: dict[str, set[Value]] = {"deck": set(), "embarked": set(), "title": set()}
        for record, survived in zip(records, np.asarray(y, dtype=float), strict=True):
            ticket, cabin = record["ticket"], record["cabin"]
            title, name = _title_and_name(record)
            if ticket is not None:
                woman_or_boy = _is_woman_or_boy(record["sex"], title, _to_float(record["age"])) == 1
                companions[str(ticket)].append(_Companion(name, _personal(record), woman_or_boy, float(survived)))
            if cabin is not None:
                seen["deck"].add(deck_of(str(cabin)))
            seen["title"].add(title)
            seen["embarked"].add(record["embarked"])
        self.companions_ = dict(companions)
        self.seen_ = {key: frozenset(values - {None}) for key, values in seen.items()}
        self.ranges_ = {}
        for name in ("pclass", "age", "sibsp", "parch", "fare"):
            known = [number for number in (_to_float(record[name]) for record in records) if not math.isnan(number)]
            self.ranges_[name] = (min(known, default=NAN), max(known, default=NAN))
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return what was learned, as JSON types."""
        check_is_fitted(self, "companions_")
        return {
            "companions": {ticket: [astuple(one) for one in group] for ticket, group in self.companions_.items()},
            "seen": {key: sorted(map(str, values)) for key, values in self.seen_.items()},
            # JSON has no NaN.
            "ranges": {name: None if math.isnan(limits[0]) else limits for name, limits in self.ranges_.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the fitted features that `to_dict` wrote."""
        features = cls()
        features.companions_ = {
            ticket: [_Companion(name, tuple(personal), *others) for name, personal, *others in group]
            for ticket, group in content["companions"].items()
        }
        features.seen_ = {key: frozenset(values) for key, values in content["seen"].items()}
        features.ranges_ = {name: tuple(limits or (NAN, NAN)) for name, limits in content["ranges"].items()}
        return features

    def without_companions(self) -> Self:
        """Return a copy without known companions: it computes features as for strangers."""
        check_is_fitted(self, "companions_")
        other = copy.copy(self)
        other.companions_ = {}
        return other

    def transform(self, X: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Return an array of shape (passengers, features). Rows do not depend on each other."""
        check_is_fitted(self, "companions_")
        return self.transform_records(records_of(X))

    def transform_records(self, records: Sequence[Mapping[str, Value]]) -> npt.NDArray[np.float32]:
        """Transform passengers as dictionaries of the ten attributes; None means missing."""
        rows = [self.row(record) for record in records]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(FEATURE_NAMES))

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:  # noqa: ARG002
        """Return the names of the columns of `transform`."""
        return np.array(FEATURE_NAMES, dtype=object)

    def row(self, passenger: Mapping[str, Value]) -> list[float]:
        """Return the features of one passenger, given the ten attributes; None means missing."""
        title, name = _title_and_name(passenger)
        others = self._companions(passenger, title, name)
        outcomes = [other.survived for other in others if other.is_woman_or_boy]
        family = _to_float(passenger["sibsp"]) + _to_float(passenger["parch"]) + 1
        group = max(family, len(others) + 1) if not math.isnan(family) else NAN
        fare = _to_float(passenger["fare"])
        ticket = None if passenger["ticket"] is None else str(passenger["ticket"])
        number = _TICKET_NUMBER.search(ticket) if ticket else None
        features = {
            "is_female": NAN if passenger["sex"] is None else float(passenger["sex"] == "female"),
            "pclass": _to_float(passenger["pclass"]),
            "age": _to_float(passenger["age"]),
            "fare": fare,
            "fare_per_person": fare / group,
            "family_size": family,
            "group_size": group,
            "is_woman_or_boy": _is_woman_or_boy(passenger["sex"], title, _to_float(passenger["age"])),
            "has_rare_title": NAN if title is None else float(title == "rare"),
            "deck": NAN if passenger["cabin"] is None else _DECKS.get(deck_of(str(passenger["cabin"])), NAN),
            "boarded_at_southampton": NAN if passenger["embarked"] is None else float(passenger["embarked"] == "S"),
            "ticket_number": min(float(number.group()), _LARGEST_TICKET_NUMBER) if number else NAN,
            "ticket_length": float(len(ticket)) if ticket else NAN,
            "companions_survived": sum(outcomes) / len(outcomes) if outcomes else NAN,
        }
        return [features[name] for name in FEATURE_NAMES]

    def unseen(self, passenger: Mapping[str, Value]) -> list[str]:
        """Return the attributes whose value did not occur in the training part, or is outside its range.

        Of a name the title counts, of a cabin the deck.
        """
        is_known: dict[str, bool] = {
            "_name": passenger["_name"] is None or title_of(str(passenger["_name"])) in self.seen_["title"],
            "ticket": str(passenger["ticket"]) in self.companions_,
            "cabin": passenger["cabin"] is None or deck_of(str(passenger["cabin"])) in self.seen_["deck"],
            "embarked": passenger["embarked"] in self.seen_["embarked"],
        }
        for name, (lowest, highest) in self.ranges_.items():
            is_known[name] = lowest <= _to_float(passenger[name]) <= highest
        return [n for n in ATTRIBUTE_NAMES if passenger[n] is not None and not is_known.get(n, True)]

    def _companions(self, passenger: Mapping[str, Value], title: str | None, name: str | None) -> list[_Companion]:
        """Return the known companions on the same ticket; `name` is the passenger's name without title."""
        group = self.companions_.get(str(passenger["ticket"]), [])
        if not group or passenger["ticket"] is None:
            return []
        personal = _personal(passenger)

        def is_same_person(other: _Companion) -> bool:
            return other.name == name or all(
                value == other_value or (value is None and title is None)
                for value, other_value in zip(personal, other.personal, strict=True)
            )

        return [other for other in group if not is_same_person(other)]


def records_of(X: pd.DataFrame) -> list[dict[str, Value]]:
    """Return the attributes of each row; None means missing."""
    columns: dict[str, list[Any]] = {}
    for name in ATTRIBUTE_NAMES:
        column = X[name]
        columns[name] = column.astype(object).where(column.notna(), None).tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _title_and_name(passenger: Mapping[str, Value]) -> tuple[str | None, str | None]:
    return (None, None) if passenger["_name"] is None else _parse_name(str(passenger["_name"]))


def _personal(passenger: Mapping[str, Value]) -> tuple[Value, ...]:
    return tuple(passenger[name] for name in _PERSONAL)


def _to_float(value: Value) -> float:
    return NAN if value is None else float(value)


def _is_woman_or_boy(sex: Value, title: str | None, age_years: float) -> float:
    if sex == "female" or title in {"woman", "boy"}:
        return 1.0
    if sex is None and title != "man":
        return NAN
    if title is not None:
        return 0.0
    return NAN if math.isnan(age_years) else float(age_years < BOY_AGE_YEARS)
