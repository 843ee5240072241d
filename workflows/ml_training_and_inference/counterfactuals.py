"""What would have to change for the other outcome, computed from the model (Wachter et al. 2017).

For each attribute the smallest change, within the range seen in training, that alone turns the prediction; where no
single one does, the best pair. The passenger stays a possible one: with another sex or age the title in the name
changes, and ticket and companions stay.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.features import BOY_AGE_YEARS, deck_of
from workflows.passengers.contract import CLASSES, PORTS, Value

Passenger = Mapping[str, Value]
Attribute = Literal["sex", "pclass", "age", "fare", "family", "embarked", "deck"]
THRESHOLD = 0.5
# Values of a numeric attribute that are tried in pairs; alone every whole number is tried.
VALUES_IN_PAIRS = 16
_TITLE = re.compile(r"\b(?:mr|master|miss|ms|mlle|mrs|mme)\b\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Change:
    """A change of one attribute: `family` is the number of relatives on board, `before` is None where unknown.

    Attributes:
        attribute: What changes.
        before: Its value.
        after: Its new value: years, pounds, persons, the class, or a text.
        text: The change in words, such as "travelling in first class instead of third".
    """

    attribute: Attribute
    before: Value
    after: Value
    text: str


@dataclass(frozen=True)
class Alternative:
    """Changes that are made together, and the probability of survival with them."""

    changes: tuple[Change, ...]
    probability: float


@dataclass(frozen=True)
class Counterfactuals:
    """What would have to change for the other outcome.

    Attributes:
        target: The other outcome.
        single: For each attribute that turns the outcome alone, the smallest such change.
        pair: The smallest pair that does, where no single change does.
        nearest: The single change that comes nearest, where neither a single one nor a pair turns the outcome.
    """

    target: Literal["survived", "died"]
    single: tuple[Alternative, ...]
    pair: Alternative | None
    nearest: Alternative | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return json.loads(json.dumps(asdict(self)))


def find_counterfactuals(version: Version, passenger: Passenger) -> Counterfactuals:
    """Find what would turn the prediction of a passenger (the ten attributes, None where missing)."""
    survives = bool(_probabilities(version, [passenger])[0] >= THRESHOLD)
    candidates = _candidates(version, passenger)
    alternatives = _evaluate(version, passenger, ((change,) for changes in candidates.values() for change in changes))
    turning = [one for one in alternatives if (one.probability >= THRESHOLD) != survives]
    target: Literal["survived", "died"] = "died" if survives else "survived"
    if turning:
        # Candidates come nearest first.
        smallest: dict[str, Alternative] = {}
        for one in turning:
            smallest.setdefault(one.changes[0].attribute, one)
        return Counterfactuals(target, tuple(smallest.values()), None, None)
    spread = [_spread(changes) for changes in candidates.values()]
    pairs = ((one, other) for first, second in combinations(spread, 2) for one in first for other in second)
    turning = [one for one in _evaluate(version, passenger, pairs) if (one.probability >= THRESHOLD) != survives]
    if turning:
        return Counterfactuals(target, (), min(turning, key=lambda one: _size(version, one)), None)
    nearest = min(alternatives, key=lambda one: abs(one.probability - THRESHOLD), default=None)
    return Counterfactuals(target, (), None, nearest)


def apply_changes(passenger: Passenger, changes: tuple[Change, ...]) -> dict[str, Value]:
    """Return the passenger with the changes made."""
    changed = dict(passenger)
    for change in changes:
        match change.attribute:
            case "family":
                parents = min(int(changed["parch"] or 0), int(change.after or 0))
                changed |= {"parch": parents, "sibsp": int(change.after or 0) - parents}
            case "deck":
                changed["cabin"] = f"{change.after}{str(changed['cabin'] or '')[1:]}"
            case name:
                changed[name] = change.after
    if {"sex", "age"} & {change.attribute for change in changes} and changed["_name"] is not None:
        is_boy = changed["age"] is not None and float(changed["age"]) < BOY_AGE_YEARS
        title = "Miss." if changed["sex"] == "female" else "Master." if is_boy else "Mr."
        if passenger["sex"] == "male" or changed["sex"] != passenger["sex"]:
            changed["_name"] = _TITLE.sub(title, str(changed["_name"]), count=1)
    return changed


def _candidates(version: Version, passenger: Passenger) -> dict[Attribute, list[Change]]:
    """Return the possible changes of each attribute, the nearest first."""
    features = version.pipeline["features"]
    ranges, seen = features.ranges_, features.seen_
    relatives = None
    if passenger["sibsp"] is not None or passenger["parch"] is not None:
        relatives = int(passenger["sibsp"] or 0) + int(passenger["parch"] or 0)
    largest_family = int(max(ranges["sibsp"][1], ranges["parch"][1]))
    deck = deck_of(str(passenger["cabin"])) if passenger["cabin"] is not None else None
    numbers: dict[Attribute, tuple[Value, int, int]] = {
        "pclass": (passenger["pclass"], *_whole(ranges["pclass"])),
        "age": (passenger["age"], *_whole(ranges["age"])),
        "fare": (passenger["fare"], *_whole(ranges["fare"])),
        "family": (relatives, 0, largest_family),
    }
    texts: dict[Attribute, tuple[Value, list[str]]] = {
        "sex": (passenger["sex"], ["female", "male"]),
        "embarked": (passenger["embarked"], sorted(seen["embarked"])),
        "deck": (deck, sorted(seen["deck"])),
    }
    found: dict[Attribute, list[Change]] = {}
    for name, (before, lowest, highest) in numbers.items():
        start = float(before) if before is not None else (lowest + highest) / 2
        values = sorted(
            range(lowest, highest + 1), key=[abs(value - start) for value in range(highest + 1)].__getitem__
        )
        found[name] = [_change(name, before, value) for value in values if value != before]
    for name, (before, others) in texts.items():
        found[name] = [_change(name, before, value) for value in others if value != before]
    return found


# How a change begins, and how each value is named.
_WORDS: Mapping[Attribute, tuple[str, Callable[[Any], str]]] = {
    "sex": ("being {}", str),
    "pclass": ("travelling in {} class", lambda value: CLASSES[int(value)]),
    "age": ("an age of {} years", lambda value: f"{float(value):g}"),
    "fare": ("a fare of {} pounds", lambda value: f"{float(value):.0f}"),
    "family": ("having {} on board", lambda value: f"{value} relative{'' if value == 1 else 's'}"),
    "embarked": ("boarding at {}", lambda value: PORTS[str(value)]),
    "deck": ("a cabin on deck {}", str),
}


def _change(attribute: Attribute, before: Value, after: Value) -> Change:
    start, name = _WORDS[attribute]
    instead = "" if before is None else f" instead of {name(before)}"
    return Change(attribute, before, after, f"{start.format(name(after))}{instead}")


def _evaluate(version: Version, passenger: Passenger, changes: Iterable[tuple[Change, ...]]) -> list[Alternative]:
    together = list(changes)
    probabilities = _probabilities(version, [apply_changes(passenger, one) for one in together])
    return [Alternative(one, float(probability)) for one, probability in zip(together, probabilities, strict=True)]


def _probabilities(version: Version, passengers: list[Any]) -> npt.NDArray[np.float64]:
    row = version.pipeline["features"].row
    rows = np.array([row(passenger) for passenger in passengers], dtype=np.float32)
    return version.pipeline["model"].get_booster().inplace_predict(rows).astype(float)


def _spread(changes: list[Change]) -> list[Change]:
    """Return a few of the changes of an attribute, from the nearest to the farthest."""
    if len(changes) <= VALUES_IN_PAIRS:
        return changes
    places = np.unique(np.geomspace(1, len(changes), VALUES_IN_PAIRS).astype(int)) - 1
    return [changes[place] for place in places]


def _size(version: Version, alternative: Alternative) -> tuple[float, float]:
    """Order alternatives by the sum of their changes, each as a share of its attribute's range."""
    ranges = version.pipeline["features"].ranges_
    widths = {"pclass": 2.0, "family": 5.0} | {name: ranges[name][1] - ranges[name][0] for name in ("age", "fare")}
    total = 0.0
    for change in alternative.changes:
        if change.attribute in widths and change.before is not None:
            total += abs(float(change.after or 0) - float(change.before)) / max(1.0, widths[change.attribute])
        else:
            total += 1.0
    return total, -abs(alternative.probability - THRESHOLD)


def _whole(limits: tuple[float, float]) -> tuple[int, int]:
    return int(np.ceil(limits[0])), int(np.floor(limits[1]))
