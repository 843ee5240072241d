"""The fixed questions that a model is asked: `seen.yaml` and `held_out.yaml`, as calls of the AI blocks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from workflows.ai_blocks.client import LanguageModel
from workflows.dynamic_blocks_workflow.fun_facts import fun_fact
from workflows.llm_inference.answer import will_i_survive
from workflows.llm_inference.bio import ATTRIBUTES, read_bio
from workflows.llm_inference.framework import Group, Value, build_framework
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.explanation import explain
from workflows.ml_training_and_inference.inference import predict_with
from workflows.ml_training_and_inference.train_and_promote import PARAMETERS
from workflows.ml_training_and_inference.training import fit
from workflows.passengers.contract import ATTRIBUTE_NAMES, KEY, TARGET, parse_attributes

HALVES = ("seen", "held_out")
FRAMEWORK, FUN_FACT, EXPLANATION, READING, ADVICE = PROMPTS = (
    "build_decision_framework",
    "generate_fun_fact",
    "explain_prediction",
    "read_bio",
    "will_i_survive",
)
FOLDER = Path(__file__).parent
Output = Mapping[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Passengers(_Strict):
    """Passengers of the CSV by id, and others by their attributes."""

    known: list[int]
    invented: list[dict[str, Any]]


class Bio(_Strict):
    """What a person says, and the attributes that it states."""

    bio: str
    expected: dict[str, Any]


class Half(_Strict):
    """Content of one of the files."""

    numbers: list[int]
    passengers: Passengers
    frameworks: list[dict[str, Value]]
    bios: list[Bio]


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        prompt: Prompt that is used.
        half: File of the question.
        question: The question as the file has it.
        ask: Asks a model, and returns the block's output.
        count_right: How much of an output is right, and of how much; None where there is nothing to compare with.
    """

    prompt: str
    half: str
    question: Any
    ask: Callable[[LanguageModel], dict[str, Any]]
    count_right: Callable[[Output], tuple[int, int]] | None = None


def load_half(name: str) -> Half:
    """Read and check one of the files."""
    return Half(**yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def survival_model(passengers: pd.DataFrame) -> Version:
    """Fit the survival model on all passengers, as training does."""
    ordered = passengers.sort_values(KEY, ignore_index=True)
    pipeline = fit(ordered.loc[:, list(ATTRIBUTE_NAMES)], ordered[TARGET].to_numpy(), PARAMETERS)
    return Version("evaluation", "", pipeline)


def all_cases(passengers: pd.DataFrame, version: Version, frameworks: Path) -> list[Case]:
    """Return all questions by prompt and half.

    The first one makes the framework that the bios are answered with.

    Args:
        passengers: The bundled ones, canonical columns.
        version: Model that predicts: see `survival_model`.
        frameworks: An empty folder.
    """
    halves = {name: load_half(name) for name in HALVES}
    cases = [case for name, half in halves.items() for case in _cases(name, half, passengers, version, frameworks)]
    return sorted(cases, key=lambda case: PROMPTS.index(case.prompt))


def count_attributes(expected: Mapping[str, Any], output: Output) -> tuple[int, int]:
    """Count the attributes that were read as expected, those that the bio does not state included."""
    read = {name: found and found["value"] for name, found in output["attributes"].items()}
    return sum(read.get(name) == expected.get(name) for name in ATTRIBUTES), len(ATTRIBUTES)


def count_changes(output: Output) -> tuple[int, int]:
    """Count 1 of 1 where the answer names a change that alone turns the outcome; 0 of 0 where there is none."""
    enough = {one["changes"][0]["text"] for one in output["counterfactuals"]["single"]}
    named = {one["change"] for one in output["changes"]}
    return (int(bool(named & enough)), 1) if enough else (0, 0)


def _cases(name: str, half: Half, passengers: pd.DataFrame, version: Version, frameworks: Path) -> Iterator[Case]:
    for attributes in half.frameworks:
        yield Case(FRAMEWORK, name, attributes, partial(_ask_framework, passengers, attributes, frameworks))
    for number in half.numbers:
        yield Case(FUN_FACT, name, number, partial(fun_fact, number))
    by_id = passengers.set_index(KEY)
    known = [{name: by_id.at[row, name] for name in ATTRIBUTE_NAMES} for row in half.passengers.known]
    for passenger in (*known, *half.passengers.invented):
        yield Case(EXPLANATION, name, passenger, partial(_ask_explanation, version, passenger), count_changes)
    for one in half.bios:
        yield Case(READING, name, one.bio, partial(_ask_reading, one.bio), partial(count_attributes, one.expected))
        folder = frameworks / Group(attributes={}, count=1, survived=0).name
        yield Case(ADVICE, name, one.bio, partial(will_i_survive, {"bio": one.bio}, folder))


def _ask_framework(
    passengers: pd.DataFrame, attributes: Mapping[str, Value], frameworks: Path, model: LanguageModel
) -> dict[str, Any]:
    for attribute, value in attributes.items():
        passengers = passengers[passengers[attribute] == value]
    return build_framework(passengers, frameworks / Group(attributes=dict(attributes), count=1, survived=0).name, model)


def _ask_explanation(version: Version, attributes: Mapping[str, object], model: LanguageModel) -> dict[str, Any]:
    return explain(predict_with(version, parse_attributes(attributes)), version, model)


def _ask_reading(bio: str, model: LanguageModel) -> dict[str, Any]:
    reading = read_bio(bio, model)
    return {**reading.provenance, "attributes": reading.attributes, "traits": reading.traits}
