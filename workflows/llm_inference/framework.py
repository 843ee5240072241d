"""The decision framework: survival rates by group, counted by code, and a guide to them in words, written by a model.

Each version is kept as a file. `will_i_survive` answers from the newest one.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.checks import folded
from workflows.ai_blocks.client import LanguageModel
from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.common.files import write_text_atomically
from workflows.common.retention import Retention, remove_old
from workflows.common.settings import get_settings
from workflows.common.text import listed, percent
from workflows.passengers.contract import CLASSES, PORTS, age_band, family_band

logger = logging.getLogger(__name__)

KEPT_VERSIONS = 20
# A smaller group says little: with 20 passengers the standard error of a rate is up to 11 points.
MINIMUM_COUNT = 20
# In the order in which the attributes tell most about survival; it decides between groups of the same size.
ATTRIBUTES = ("sex", "pclass", "age_band", "family", "embarked")
# Attributes that are shown to the model in combination; the others one by one.
COMBINED = (("sex", "pclass"), ("sex", "age_band"), ("sex", "family"))
FAMILY_WORDS = {"alone": "travelling alone", "small": "in a small family", "large": "in a large family"}
NEEDED_COLUMNS = ("survived", "sex", "pclass", "age", "sibsp", "parch", "embarked")

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

    @property
    def name(self) -> str:
        """The group in words: {"sex": "male", "pclass": 3} is "male passengers in third class"."""
        words = [str(self.attributes[key]) for key in ("sex", "age_band") if key in self.attributes]
        words.append("passengers" if self.attributes else "all passengers")
        if "pclass" in self.attributes:
            words.append(f"in {CLASSES[int(self.attributes['pclass'])]} class")
        if "family" in self.attributes:
            words.append(FAMILY_WORDS[str(self.attributes["family"])])
        if "embarked" in self.attributes:
            words.append(f"from {PORTS[str(self.attributes['embarked'])]}")
        return " ".join(words)

    def facts(self) -> dict[str, Any]:
        """Return what a model is told of the group."""
        return {"group": self.name, "count": self.count, "survival_percent": round(100 * self.rate)}


class Framework(BaseModel):
    """A version of the framework.

    Attributes:
        version: Sorts by time.
        fingerprint: Hash of the content.
        groups: All groups with their counts.
        text: The guide in words.
        rules: Groups that the guide rests on.
        provenance: Where text and rules come from, see `Answer.provenance`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    version: str
    fingerprint: str
    groups: list[Group] = Field(min_length=1)
    # Files of earlier releases have a summary and no rules.
    text: str = Field(validation_alias=AliasChoices("text", "summary"))
    rules: list[Group] = Field(default_factory=list)
    provenance: dict[str, Any]

    def group_for(self, known: Mapping[str, Value]) -> Group:
        """Return the group with most of the known attributes.

        Only groups of at least `MINIMUM_COUNT` passengers count; of several with the same number of attributes, the
        one whose attributes come first in `ATTRIBUTES`. Without known attributes it is all passengers.
        """
        fitting = [
            group
            for group in self.groups
            if (group.count >= MINIMUM_COUNT or not group.attributes)
            and all(known.get(name) == value for name, value in group.attributes.items())
        ]
        return min(fitting, key=lambda group: (-len(group.attributes), sorted(map(ATTRIBUTES.index, group.attributes))))


def build_framework(
    passengers: pd.DataFrame,
    folder: Path | None = None,
    model: LanguageModel | None = None,
    pipeline_run_id: int | None = None,
) -> dict[str, Any]:
    """Count survivors by group, have a model write the guide, and keep both as the newest version.

    Where the newest version is the same, no new one is made: running twice changes nothing.

    Args:
        passengers: One row per passenger, canonical columns.
        folder: Folder of the versions; by default that of the settings.
        model: Model to use; by default the configured one.
        pipeline_run_id: Run to which the tokens are added.

    Returns:
        `framework_version`, `text`, `rules` (each with conditions, count, survived and rate), `rates` (groups of one or
        two attributes), and where text and rules come from, see `Answer.provenance`.

    Raises:
        InvalidInputError: no passengers, or a column is missing.
        ServiceError: the model's server could not be reached, or refused.
    """
    folder = folder or get_settings().frameworks_dir
    groups = groups_of(passengers)
    shown = groups_shown(groups)
    answer = ask(
        "build_decision_framework",
        {"groups": [group.facts() for group in shown]},
        fallback=framework_from_counts(shown),
        model=model,
        pipeline_run_id=pipeline_run_id,
    )
    by_name = {folded(group.name): group for group in shown}
    content = {
        "groups": groups,
        "text": answer.values["framework"],
        "rules": [by_name[folded(rule["group"])] for rule in answer.values["rules"]],
    }
    fingerprint = _fingerprint(content)
    newest = next(iter(_readable_versions(folder)), None)
    if newest is not None and newest.fingerprint == fingerprint:
        logger.info("Framework %s is unchanged", newest.version)
        return _as_output(newest.model_copy(update={"provenance": answer.provenance()}))
    version = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{fingerprint[:8]}"
    framework = Framework(version=version, fingerprint=fingerprint, provenance=answer.provenance(), **content)
    write_text_atomically(folder / f"{version}.json", framework.model_dump_json())
    remove_old(folder.glob("*.json"), Retention(keep=KEPT_VERSIONS))
    logger.info("Framework %s rests on %d groups and has %d rules", version, len(groups), len(framework.rules))
    return _as_output(framework)


def newest_framework(folder: Path) -> Framework:
    """Return the newest version that can be read.

    Raises:
        NotReadyError: there is none; names the pipeline that makes it.
    """
    for framework in _readable_versions(folder):
        return framework
    raise NotReadyError("There is no decision framework yet: run the pipeline llm_inference once")


def groups_of(passengers: pd.DataFrame) -> list[Group]:
    """Count survivors in every group that any of `ATTRIBUTES` make, all passengers first.

    A passenger with a missing attribute is not in the groups of that attribute.

    Raises:
        InvalidInputError: no passengers, or a column is missing.
    """
    missing = [name for name in NEEDED_COLUMNS if name not in passengers.columns]
    if missing:
        raise InvalidInputError("The framework cannot be built", dict.fromkeys(missing, "column is missing"))
    if passengers.empty:
        raise InvalidInputError("The framework cannot be built: there are no passengers")
    relatives = passengers["sibsp"].astype(int) + passengers["parch"].astype(int)
    table = pd.DataFrame(
        {
            "survived": passengers["survived"].astype(int),
            "sex": passengers["sex"],
            "pclass": passengers["pclass"].astype(int),
            "age_band": [age_band(age) for age in passengers["age"]],
            "family": [family_band(1 + count) for count in relatives],
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


def groups_shown(groups: Sequence[Group]) -> list[Group]:
    """Return the groups that a model is shown: all passengers, those of one attribute, and `COMBINED` ones."""
    return [
        group
        for group in groups
        if not group.attributes
        or (
            group.count >= MINIMUM_COUNT
            and (len(group.attributes) == 1 or tuple(sorted(group.attributes, key=ATTRIBUTES.index)) in COMBINED)
        )
    ]


def framework_from_counts(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the answer of the block made by code: the rates in sentences, and the groups that tell most as rules."""
    everybody = groups[0]
    lines = [
        f"Of all {everybody.count} passengers, {percent(everybody.rate)} survived. Start from this rate, and replace "
        "it by that of the smallest group below that fits what is known about a person."
    ]
    for attribute, title in (("sex", "sex"), ("pclass", "class"), ("age_band", "age"), ("family", "family")):
        rates = [f"{group.name} {percent(group.rate)}" for group in groups if set(group.attributes) == {attribute}]
        if rates:
            lines.append(f"By {title}: {listed(rates)}.")
    pairs = [group for group in groups if set(group.attributes) == {"sex", "pclass"}]
    if pairs:
        lines.append(f"Sex and class together: {listed([f'{group.name} {percent(group.rate)}' for group in pairs])}.")
    rules = [everybody, *(group for group in groups if set(group.attributes) == {"sex"}), *pairs]
    return {"framework": "\n".join(lines), "rules": [group.facts() for group in rules]}


def _as_output(framework: Framework) -> dict[str, Any]:
    def row(group: Group) -> dict[str, Any]:
        return {"count": group.count, "survived": group.survived, "rate": round(group.rate, 4)}

    return {
        "framework_version": framework.version,
        "text": framework.text,
        "rules": [{"conditions": group.attributes, **row(group)} for group in framework.rules],
        "rates": [
            {**group.attributes, **row(group)}
            for group in framework.groups
            if len(group.attributes) <= 2 and group.count >= MINIMUM_COUNT
        ],
        **framework.provenance,
    }


def _readable_versions(folder: Path) -> Iterator[Framework]:
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            yield Framework.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            logger.warning("The framework %s cannot be read and is skipped: %s", path, type(error).__name__)


def _fingerprint(content: Mapping[str, Any]) -> str:
    def plain(group: Group) -> dict[str, Any]:
        return group.model_dump()

    return hashlib.sha256(json.dumps(content, sort_keys=True, default=plain).encode()).hexdigest()
