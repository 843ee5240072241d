"""Blocks that other programs call over `/api/runs`: what their variables are, and whether they can answer yet.

The schemas are made from the rules that the blocks validate with, so they cannot say something else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workflows.advice.bio import MAX_BIO_CHARACTERS
from workflows.common.settings import get_settings
from workflows.sql_python.passengers import ATTRIBUTES, MAX_TEXT_LENGTH, MISSING, NUMBER, Column
from workflows.survival.inference import load_model


@dataclass(frozen=True)
class CallableBlock:
    """A block that may be called.

    Attributes:
        pipeline: Its pipeline.
        block: Its name.
        title: What it does.
        variables: JSON Schema of its variables.
        example: Variables that it accepts.
        check_ready: Loads what it needs, or raises NotReadyError; None where it needs nothing big.
    """

    pipeline: str
    block: str
    title: str
    variables: dict[str, Any]
    example: dict[str, Any]
    check_ready: Callable[[], None] | None = None


def attribute_schema(column: Column) -> dict[str, Any]:
    """Return the JSON Schema of one attribute of a passenger: a value, as JSON or as text, or missing."""
    missing = {"enum": [None, *sorted(MISSING)]}
    if column.choices:
        return {"enum": [None, *sorted(MISSING), *column.choices]}
    if column.kind == "text":
        return {"anyOf": [{"type": "string", "maxLength": MAX_TEXT_LENGTH}, {"type": "null"}]}
    number: dict[str, Any] = {
        "type": "integer" if column.kind == "int" else "number",
        "minimum": column.minimum,
        "maximum": column.maximum,
    }
    written = {
        "type": "string",
        "maxLength": MAX_TEXT_LENGTH,
        "pattern": f"^{NUMBER.pattern}$",
        "description": f"A number from {column.minimum:g} to {column.maximum:g}, written as text.",
    }
    return {"anyOf": [number, written, missing]}


def _passenger_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A passenger; what is left out, null or empty is unknown. Other names are ignored.",
        "properties": {column.name: attribute_schema(column) for column in ATTRIBUTES},
    }


def _about_me_schema() -> dict[str, Any]:
    bio = {"type": "string", "minLength": 1, "maxLength": MAX_BIO_CHARACTERS, "pattern": r"\S"}
    about_me = {"type": "object", "properties": {"bio": bio}, "required": ["bio"]}
    return {"type": "object", "properties": {"about_me": about_me}, "required": ["about_me"]}


def _load_model() -> None:
    load_model(get_settings().models_dir)


PASSENGER_EXAMPLE = {
    "pclass": "3",
    "_name": "Kim",
    "sex": "female",
    "age": "21",
    "sibsp": "0",
    "parch": "0",
    "ticket": "315037",
    "fare": "100",
    "cabin": "D21",
    "embarked": "S",
}

CALLABLE_BLOCKS: tuple[CallableBlock, ...] = (
    CallableBlock(
        "ml_training_and_inference",
        "online_inference",
        "Predict whether a passenger survives",
        _passenger_schema(),
        PASSENGER_EXAMPLE,
        _load_model,
    ),
    CallableBlock(
        "ml_training_and_inference",
        "explain_prediction",
        "Predict, and explain the prediction in words",
        _passenger_schema(),
        PASSENGER_EXAMPLE,
    ),
    CallableBlock(
        "llm_inference",
        "will_i_survive",
        "Answer whether the author of a bio would have survived",
        _about_me_schema(),
        {
            "about_me": {
                "bio": "I am a 21-year-old male from Japan and I have OP cheat-magic. "
                "I am a student and I love to travel."
            }
        },
    ),
)
