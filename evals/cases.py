"""The fixed questions that a model is asked: `seen.yaml` and `held_out.yaml`, as calls of the AI blocks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from workflows.advice.framework import Value, build_framework, group_words
from workflows.advice.survival_advice import will_i_survive
from workflows.ai_blocks.client import LanguageModel
from workflows.dynamic_blocks.fun_facts import fun_fact
from workflows.sql_python.passengers import ATTRIBUTE_NAMES, KEY, TARGET, parse_attributes
from workflows.survival.explanation import explain
from workflows.survival.inference import predict_with
from workflows.survival.registry import Version
from workflows.survival.train_and_promote import PARAMETERS
from workflows.survival.training import fit

HALVES = ("seen", "held_out")
FRAMEWORK, FUN_FACT, EXPLANATION, ADVICE = BLOCKS = (
    "build_decision_framework",
    "generate_fun_fact",
    "explain_prediction",
    "will_i_survive",
)
FOLDER = Path(__file__).parent


class Passengers(BaseModel):
    """Passengers of the CSV by id, and others by what is known of them."""

    model_config = ConfigDict(extra="forbid")

    known: list[int]
    invented: list[dict[str, Any]]


class Half(BaseModel):
    """What one of the files holds."""

    model_config = ConfigDict(extra="forbid")

    numbers: list[int]
    passengers: Passengers
    frameworks: list[dict[str, Value]]
    bios: list[str]


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        block: The AI block that is asked.
        half: File that it stands in.
        asked: What stands there.
        ask: Asks a model, and returns the block's output.
        agrees: Whether an output of the block agrees with the survival model; None where that makes no sense.
    """

    block: str
    half: str
    asked: Any
    ask: Callable[[LanguageModel], dict[str, Any]]
    agrees: Callable[[Mapping[str, Any]], bool] | None = None


def load_half(name: str) -> Half:
    """Read and check one of the files."""
    return Half(**yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def survival_model(passengers: pd.DataFrame) -> Version:
    """Fit the survival model on all passengers, as training does."""
    ordered = passengers.sort_values(KEY, ignore_index=True)
    pipeline = fit(ordered.loc[:, list(ATTRIBUTE_NAMES)], ordered[TARGET].to_numpy(), PARAMETERS)
    return Version("evaluation", {}, pipeline)


def all_cases(passengers: pd.DataFrame, version: Version, frameworks: Path) -> list[Case]:
    """Return all questions by block and half.

    The first one makes the framework that the bios are answered with.

    Args:
        passengers: The bundled ones, canonical columns.
        version: What predicts: see `survival_model`.
        frameworks: An empty folder.
    """
    halves = {name: load_half(name) for name in HALVES}
    cases = [case for name, half in halves.items() for case in _cases(name, half, passengers, version, frameworks)]
    return sorted(cases, key=lambda case: BLOCKS.index(case.block))


def agrees_with(version: Version, advice: Mapping[str, Any]) -> bool:
    """Say whether `will_i_survive` and the survival model predict the same from what was read in the bio."""
    read = {name: found["value"] for name, found in advice["attributes"].items() if found is not None}
    if (family := read.pop("family", None)) is not None:
        # The model looks at the sum of the two alone.
        read |= {"sibsp": family - 1, "parch": 0}
    predicted = predict_with(version, dict.fromkeys(ATTRIBUTE_NAMES) | read)["survived"]
    return bool(predicted) == bool(advice["survives"])


def _cases(name: str, half: Half, passengers: pd.DataFrame, version: Version, frameworks: Path) -> Iterator[Case]:
    for attributes in half.frameworks:
        yield Case(FRAMEWORK, name, attributes, partial(_ask_framework, passengers, attributes, frameworks))
    for number in half.numbers:
        yield Case(FUN_FACT, name, number, partial(fun_fact, number))
    by_id = passengers.set_index(KEY)
    for passenger_id in half.passengers.known:
        known = {attribute: by_id.at[passenger_id, attribute] for attribute in ATTRIBUTE_NAMES}
        yield Case(EXPLANATION, name, {KEY: passenger_id}, partial(_ask_explanation, version, known))
    for invented in half.passengers.invented:
        yield Case(EXPLANATION, name, invented, partial(_ask_explanation, version, invented))
    for bio in half.bios:
        ask = partial(will_i_survive, {"bio": bio}, frameworks / group_words({}))
        yield Case(ADVICE, name, bio, ask, partial(agrees_with, version))


def _ask_framework(
    passengers: pd.DataFrame, attributes: Mapping[str, Value], frameworks: Path, model: LanguageModel
) -> dict[str, Any]:
    for attribute, value in attributes.items():
        passengers = passengers[passengers[attribute] == value]
    return build_framework(passengers, frameworks / group_words(attributes), model)


def _ask_explanation(version: Version, attributes: Mapping[str, object], model: LanguageModel) -> dict[str, Any]:
    return explain(predict_with(version, parse_attributes(attributes)), model)
