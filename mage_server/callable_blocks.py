"""Blocks that other programs call over `/api/runs`: JSON Schemas of their variables, and readiness checks.

The schemas are generated from the same rules that the blocks validate with, so the two always agree.
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
    """A block with documented variables.

    Attributes:
        pipeline: UUID of the pipeline.
        block: UUID of the block.
        title: One-line description.
        variables: JSON Schema of the variables.
        example: Valid variables.
        check_ready: Loads what the block needs, or raises NotReadyError. None if there is nothing to load.
    """

    pipeline: str
    block: str
    title: str
    variables: dict[str, Any]
    example: dict[str, Any]
    check_ready: Callable[[], None] | None = None


def attribute_schema(column: Column) -> dict[str, Any]:
    """Return the JSON Schema of one passenger attribute: a JSON value, the value as text, or a missing value."""
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
    number_as_text = {
        "type": "string",
        "maxLength": MAX_TEXT_LENGTH,
        "pattern": f"^{NUMBER.pattern}$",
        "description": f"A number from {column.minimum:g} to {column.maximum:g}, as text.",
    }
    return {"anyOf": [number, number_as_text, missing]}


def _passenger_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A passenger. Attributes that are absent, null or empty are unknown. Other names are ignored.",
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
