"""The decision framework: survival rates by group, computed; kept as versions; summed up by a model."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workflows.errors import InvalidInputError, NotReadyError
from workflows.files import write_text_atomically
from workflows.llm.answers import ask
from workflows.llm.client import LanguageModel, model_name
from workflows.llm.grounding import Fact
from workflows.llm.prompts import load_prompt
from workflows.llm.wording import CLASSES, PORTS, percent
from workflows.settings import get_settings

logger = logging.getLogger(__name__)

PROMPT = "build_decision_framework"
KEPT_VERSIONS = 20
# A smaller group says little: with 20 the standard error of a rate is 11 points at most.
MINIMUM_COUNT = 20
# In the order in which the attributes tell most about survival; it decides between groups alike in size.
ATTRIBUTES = ("sex", "pclass", "age_band", "family", "embarked")
CHILD_BELOW_YEARS = 13
ADULT_FROM_YEARS = 18
OLD_FROM_YEARS = 60
SMALL_FAMILY = 4
FAMILY_WORDS = {"alone": "travelling alone", "small": "in a small family", "large": "in a large family"}

Value = str | int


class Group(BaseModel):
    """Passengers who share attributes, and how many of them survived."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attributes: dict[str, Value]
    count: int = Field(gt=0)
    survived: int = Field(ge=0)

    @property
    def rate(self) -> float:
        """Share of the group that survived."""
        return self.survived / self.count


class Framework(BaseModel):
    """A version of the framework as it is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    fingerprint: str
    groups: list[Group] = Field(min_length=1)
    summary: str
    provenance: dict[str, Any]

    def group_for(self, known: Mapping[str, Value]) -> Group:
        """Return the group that decides for somebody: the one that shares most of the known attributes.

        Only groups of at least `MINIMUM_COUNT` passengers count; of several that share as many attributes, the
        one whose attributes come first in `ATTRIBUTES`. With nothing known it is all passengers.
        """
        fitting = [
            group
            for group in self.groups
            if (group.count >= MINIMUM_COUNT or not group.attributes)
            and all(known.get(name) == value for name, value in group.attributes.items())
        ]
        return min(fitting, key=_preference)


def build_framework(
    passengers: pd.DataFrame, folder: Path | None = None, model: LanguageModel | None = None, run: object = None
) -> dict[str, Any]:
    """Compute the survival rates, have them summed up, and keep both as the newest version.

    With the same passengers, prompt and model as the newest version, that one is returned: running twice
    changes nothing.

    Args:
        passengers: One row per passenger, canonical columns.
        folder: Of the versions; by default the one of the settings.
        model: Whom to ask; by default the configured one.
        run: Id of the pipeline run, to which the tokens are booked.

    Returns:
        `framework_version`, `summary` (text), `rates` (groups of one or two attributes with count, survived
        and rate), and where the text comes from, see `Answer.provenance`.

    Raises:
        InvalidInputError: no passengers, or a column is missing.
        ServiceError: the model's server could not be reached, or refused.
    """
    settings = get_settings()
    folder = folder or settings.frameworks_dir
    groups = groups_of(passengers)
    fingerprint = _fingerprint(groups, f"{load_prompt(PROMPT).fingerprint} {model_name(settings)}")
    newest = next(iter(_good_versions(folder)), None)
    if newest is not None and newest.fingerprint == fingerprint:
        logger.info("Framework %s was made of the same passengers, prompt and model", newest.version)
        return as_output(newest)
    answer = ask(PROMPT, {}, facts_of(groups), model=model, run=run)
    version = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{fingerprint[:8]}"
    framework = Framework(
        version=version,
        fingerprint=fingerprint,
        groups=groups,
        summary=str(answer.values["framework"]),
        provenance=answer.provenance(),
    )
    write_text_atomically(folder / f"{version}.json", framework.model_dump_json())
    _drop_old(folder)
    return as_output(framework)


def newest_framework(folder: Path) -> Framework:
    """Return the newest version that can be read.

    Raises:
        NotReadyError: there is none; names the pipeline that makes it.
    """
    for framework in _good_versions(folder):
        return framework
    raise NotReadyError("There is no decision framework yet: run the pipeline llm_inference once")


def groups_of(passengers: pd.DataFrame) -> list[Group]:
    """Count survivors in every group that any of `ATTRIBUTES` make, all passengers first.

    A passenger with a missing attribute is left out of the groups that it defines.

    Raises:
        InvalidInputError: no passengers, or a column is missing.
    """
    needed = ["survived", "sex", "pclass", "age", "sibsp", "parch", "embarked"]
    missing = [name for name in needed if name not in passengers.columns]
    if missing:
        raise InvalidInputError("The framework cannot be built", dict.fromkeys(missing, "column is missing"))
    if passengers.empty:
        raise InvalidInputError("The framework cannot be built: there are no passengers")
    table = pd.DataFrame(
        {
            "survived": passengers["survived"].astype(int),
            "sex": passengers["sex"],
            "pclass": passengers["pclass"],
            "age_band": [age_band(age) for age in passengers["age"]],
            "family": [
                family_band(1 + int(sibsp) + int(parch))
                for sibsp, parch in zip(passengers["sibsp"], passengers["parch"], strict=True)
            ],
            "embarked": passengers["embarked"],
        }
    )
    groups = [Group(attributes={}, count=len(table), survived=int(table["survived"].sum()))]
    for size in range(1, len(ATTRIBUTES) + 1):
        for names in combinations(ATTRIBUTES, size):
            counted = table.groupby(list(names), sort=True)["survived"].agg(["count", "sum"])
            for key, row in counted.iterrows():
                values = key if isinstance(key, tuple) else (key,)
                attributes = {
                    name: int(value) if name == "pclass" else str(value)
                    for name, value in zip(names, values, strict=True)
                }
                groups.append(Group(attributes=attributes, count=int(row["count"]), survived=int(row["sum"])))
    return groups


def age_band(age_years: float | None) -> Literal["child", "teenage", "adult", "old"] | None:
    """Name the band of an age: child below 13, teenage below 18, adult below 60, old; None where unknown."""
    if age_years is None or pd.isna(age_years):
        return None
    if age_years < CHILD_BELOW_YEARS:
        return "child"
    if age_years < ADULT_FROM_YEARS:
        return "teenage"
    return "adult" if age_years < OLD_FROM_YEARS else "old"


def family_band(people: int | None) -> Literal["alone", "small", "large"] | None:
    """Name the band of a family on board, the passenger included: alone, small up to 4, large."""
    if people is None:
        return None
    if people <= 1:
        return "alone"
    return "small" if people <= SMALL_FAMILY else "large"


def group_words(attributes: Mapping[str, Value]) -> str:
    """Name a group in words: {"sex": "male", "pclass": 3} is "male passengers in third class"."""
    words = [str(attributes[name]) for name in ("sex", "age_band") if name in attributes]
    words.append("passengers")
    if "pclass" in attributes:
        words.append(f"in {CLASSES[int(attributes['pclass'])]} class")
    if "family" in attributes:
        words.append(FAMILY_WORDS[str(attributes["family"])])
    if "embarked" in attributes:
        words.append(f"from {PORTS[str(attributes['embarked'])]}")
    return " ".join(words)


def facts_of(groups: Sequence[Group]) -> list[Fact]:
    """Return what the summary may say: the rate of everybody, by sex, by class, and of children."""
    by_key = {tuple(sorted(group.attributes.items())): group for group in groups}
    wanted: list[dict[str, Value]] = [
        {},
        {"sex": "female"},
        {"sex": "male"},
        {"pclass": 1},
        {"pclass": 3},
        {"age_band": "child"},
    ]
    found = [by_key.get(tuple(sorted(attributes.items()))) for attributes in wanted]
    return [rate_fact(group) for group in found if group is not None and group.count >= MINIMUM_COUNT] or [
        rate_fact(groups[0])
    ]


def rate_fact(group: Group) -> Fact:
    """Say how many of a group survived."""
    who = group_words(group.attributes)
    everybody = "" if group.attributes else "all "
    rate = percent(group.rate)
    return Fact(
        f"Of {everybody}{group.count} {who}, {rate} survived.",
        (f"{rate} of {everybody}{who} survived.", f"{rate} of {everybody}{group.count} {who} survived."),
        subject=f"{everybody}{who}",
        claim=frozenset({"survived", "chance of survival"}),
    )


def as_output(framework: Framework) -> dict[str, Any]:
    """Return a framework as the output of its block."""
    return {
        "framework_version": framework.version,
        "summary": framework.summary,
        "rates": [
            {**group.attributes, "count": group.count, "survived": group.survived, "rate": round(group.rate, 4)}
            for group in framework.groups
            if len(group.attributes) <= 2 and group.count >= MINIMUM_COUNT
        ],
        **framework.provenance,
    }


def _preference(group: Group) -> tuple[int, list[int]]:
    return -len(group.attributes), sorted(ATTRIBUTES.index(name) for name in group.attributes)


def _good_versions(folder: Path) -> Iterator[Framework]:
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            yield Framework.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            logger.warning("The framework %s cannot be read and is skipped: %s", path, type(error).__name__)


def _drop_old(folder: Path) -> None:
    for path in sorted(folder.glob("*.json"), reverse=True)[KEPT_VERSIONS:]:
        path.unlink(missing_ok=True)


def _fingerprint(groups: Sequence[Group], maker: str) -> str:
    content = json.dumps([[group.model_dump() for group in groups], maker], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
