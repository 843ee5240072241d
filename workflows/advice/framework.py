"""The decision framework: survival rates by group, computed; kept as versions; summed up by a model."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.client import LanguageModel
from workflows.ai_blocks.grounding import EVERYBODY, Fact
from workflows.ai_blocks.phrases import percent, percent_pattern
from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.common.files import write_text_atomically
from workflows.common.settings import get_settings
from workflows.sql_python.passengers import CLASSES, PORTS, age_band, family_band

logger = logging.getLogger(__name__)

KEPT_VERSIONS = 20
# A smaller group says little: with 20 the standard error of a rate is 11 points at most.
MINIMUM_COUNT = 20
# In the order in which the attributes tell most about survival; it decides between groups alike in size.
ATTRIBUTES = ("sex", "pclass", "age_band", "family", "embarked")
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

    Where the newest version has the same rates and the same summary, no new one is made: running twice changes
    nothing, as the same question is asked once.

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
    folder = folder or get_settings().frameworks_dir
    groups = groups_of(passengers)
    answer = ask("build_decision_framework", {}, facts_of(groups), model=model, run=run)
    fingerprint = _fingerprint(groups, str(answer.values["framework"]))
    newest = next(iter(_good_versions(folder)), None)
    if newest is not None and newest.fingerprint == fingerprint:
        logger.info("Framework %s is the same", newest.version)
        return as_output(newest.model_copy(update={"provenance": answer.provenance()}))
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
    who_pattern, rate = group_pattern(group), percent_pattern(group.rate)
    # "(69 passengers)" behind the group; behind the rate it would seem to count the survivors.
    counted = f"{who_pattern} [, {group.count} ({_PEOPLE}) [,]]"
    said = (*_RATE_SAID, *_RATE_SAID_OF_SOME) if group.attributes else _RATE_SAID
    full = [pattern.replace("WHO", counted) for pattern in said]
    short = [pattern.replace("WHO", counted) for pattern in _RATE_SAID_SHORT]
    if group.rate in {0, 1}:
        full.append(f"{'all [of]' if group.rate else 'none of'} {counted} {_SURVIVED}")
    if set(group.attributes) == {"pclass"}:
        cabins = f"{CLASSES[int(group.attributes['pclass'])]} class"
        inside = f"RATE of [the|its|all] [{group.count}] ({_PEOPLE}|its passengers)"
        full += [f"in {cabins} [,] {inside} {_SURVIVED}", f"{cabins} (saw|had) {inside} survive"]
        # After a word for passengers, and behind no group of another kind: it stands for them.
        short += [pattern.replace("WHO", f"those [travelling] in {cabins}") for pattern in (*said, *_RATE_SAID_SHORT)]
    by = {"sex": "[by sex ,]", "pclass": "[by class ,]"}.get(" ".join(group.attributes), "")
    full = [f"{by} ({pattern})" for pattern in full]
    if by:
        full.append(f"[the] survival rates {by[1:-3]} were RATE (for|among|in|across) {counted}")
    return Fact(
        f"Of {everybody}{group.count} {who}, {percent(group.rate)} survived.",
        tuple(pattern.replace("RATE", rate) for pattern in full),
        elliptical=tuple(pattern.replace("RATE", rate) for pattern in short),
        anaphoric=tuple(
            f"{by} ({pattern})".replace("WHO", counted).replace("RATE", rate) for pattern in _RATE_SAID_OF_IT
        ),
        kind=_kind(group.attributes),
    )


def _kind(attributes: Mapping[str, Value]) -> str:
    """Return which groups may be named in one sentence: sex and age bands go together, classes do not go with them."""
    if not attributes:
        return EVERYBODY
    return "people" if set(attributes) <= {"sex", "age_band"} else " ".join(sorted(attributes))


def group_pattern(group: Group) -> str:
    """Return the pattern of the ways to name a group, with its count or without.

    "Women" does not stand for female passengers of any age: girls are counted among them.
    """
    if not group.attributes:
        return (
            f"((all [of] [the|these]|the|a total of) {group.count} ({_PEOPLE})|{group.count} ({_PEOPLE})|all [the] "
            f"({_PEOPLE})|everyone|everybody) [overall|in total|in all|in the data|taken together]"
        )
    before, after = _attribute_patterns(group.attributes)
    named = []
    for noun, absorbed in _nouns(group.attributes):
        left = [name for name in group.attributes if name not in absorbed]
        for size in range(len(left) + 1):
            for preceding in combinations(left, size):
                following = [name for name in left if name not in preceding]
                if all(name in before for name in preceding) and all(name in after for name in following):
                    named.append(f"{_all_of(before, preceding)} ({noun}) {_all_of(after, following)}")
    if set(group.attributes) == {"pclass"}:
        named.append(f"{CLASSES[int(group.attributes['pclass'])]} class")
        named.append(f"{group.count} in {CLASSES[int(group.attributes['pclass'])]} class")
    return f"[the|the group of] [{group.count}] ({'|'.join(named)})"


_PEOPLE = "passengers|people|travellers"
_SURVIVED = "(survived|survive|did survive|made it|lived) [the (sinking|disaster)]"
_CHANCE = "(survival (rate|chance|probability|likelihood)|(chance|rate|probability|likelihood) of (survival|surviving))"
# WHO stands for the group, RATE for its rate.
_RATE_SAID = (
    f"[of [all]|among [all]|amongst|out of [all]|from|for [all]|in] WHO [,] RATE [of them] {_SURVIVED}",
    f"RATE of [all] WHO {_SURVIVED}",
    f"WHO (had|have|saw|showed|faced) [a|an] {_CHANCE} of RATE",
    f"WHO (had|have|saw|showed|faced) ([a|an] RATE|only a RATE|just a RATE) {_CHANCE}",
    f"[the|a] [overall|observed] {_CHANCE} (of|for|among|in|across) WHO (was|is|stood at|came to|of) RATE",
    f"[the] [overall|observed] ({_CHANCE}|survival) (was|is|stood at|came to) RATE (of|for|among|in|across) WHO",
    "[the] survival rates were RATE (for|among|in|across) WHO",
    f"(for|among|in|across) WHO [,] (the rate|the {_CHANCE}|survival) (was|is|stood at|came to) RATE",
    f"there were WHO , (of whom RATE|RATE of whom) {_SURVIVED}",
    "WHO saw RATE [of them] survive",
)
# "Everyone survived at a rate of …" would begin with a falsehood.
_RATE_SAID_OF_SOME = (
    f"WHO {_SURVIVED} (at|with) [a] [survival] rate of RATE",
    f"WHO {_SURVIVED} in RATE of [all] [the] cases",
)
_RATE_SAID_OF_IT = (
    "it (was|is|stood at|came to) RATE (for|among|in|across) WHO",
    "(for|among|in|across) WHO [,] it (was|is|stood at|came to) RATE",
)
_RATE_SAID_SHORT = (
    "of WHO , RATE did",
    "WHO in RATE of [the] cases",
    "with RATE of WHO surviving",
    "RATE of [all] WHO [did]",
    "[at] RATE (for|among|in|across) WHO",
    "WHO [,] [at] [a rate of] RATE",
    "WHO had ([a|an] RATE|only a RATE|just a RATE) [chance]",
)


def _nouns(attributes: Mapping[str, Value]) -> list[tuple[str, frozenset[str]]]:
    """Return patterns of nouns for a group, each with the attributes that it says."""
    sex, age = attributes.get("sex"), attributes.get("age_band")
    found: list[tuple[str, frozenset[str]]] = [(_PEOPLE, frozenset())]
    if sex is not None:
        found.append((f"{sex}s", frozenset({"sex"})))
        if age is None:
            found.append(("women and girls" if sex == "female" else "men and boys", frozenset({"sex"})))
        elif age in {"adult", "old"}:
            found.append(("women" if sex == "female" else "men", frozenset({"sex"})))
    if age in _AGE_NOUNS:
        found.append((_AGE_NOUNS[str(age)], frozenset({"age_band"})))
    return found


_AGE_NOUNS = {"adult": "adults", "child": "children", "teenage": "teenagers"}


def _attribute_patterns(attributes: Mapping[str, Value]) -> tuple[dict[str, str], dict[str, str]]:
    """Return how each attribute of a group is said before the noun, and how after it."""
    before = {name: str(attributes[name]) for name in ("sex", "age_band") if name in attributes}
    after: dict[str, str] = {}
    if "pclass" in attributes:
        before["pclass"] = f"{CLASSES[int(attributes['pclass'])]} class"
        after["pclass"] = f"[travelling|who travelled|who were] in {before['pclass']}"
    if "family" in attributes:
        after["family"] = {
            "alone": "(travelling|who travelled|who were travelling) (alone|on their own|by themselves)",
            "small": "[travelling|who travelled|who were] (in|with) a small family",
            "large": "[travelling|who travelled|who were] (in|with) a large family",
        }[str(attributes["family"])]
    if "embarked" in attributes:
        port = PORTS[str(attributes["embarked"])].lower()
        after["embarked"] = f"(from|boarding at|who boarded at|who embarked at|who came from) {port}"
    return before, after


def _all_of(patterns: Mapping[str, str], names: Sequence[str]) -> str:
    return f"{{{' ; '.join(patterns[name] for name in names)}}}" if names else ""


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


def _fingerprint(groups: Sequence[Group], summary: str) -> str:
    content = json.dumps([[group.model_dump() for group in groups], summary], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
