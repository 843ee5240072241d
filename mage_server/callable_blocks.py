"""Blocks that other programs call over `/api/runs`: JSON Schemas of their variables, and readiness checks.

Of these pipelines, no other block may be called unless its own configuration says so.

The schemas are generated from the same rules that the blocks validate with, so the two always agree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from workflows.common.errors import InvalidInputError
from workflows.common.settings import get_settings
from workflows.llm_inference.bio import MAX_BIO_CHARACTERS
from workflows.passengers.contract import (
    ATTRIBUTE_BY_PLAIN_NAME,
    ATTRIBUTES,
    MAX_TEXT_LENGTH,
    MISSING,
    NUMBER,
    Column,
    plain_name,
)


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
        other_names: Further names of variables, in their plain form (see `plain_name`), and what they mean.
    """

    pipeline: str
    block: str
    title: str
    variables: dict[str, Any]
    example: dict[str, Any]
    check_ready: Callable[[], None] | None = None
    other_names: Mapping[str, str] = field(default_factory=dict)

    def known_variables(self, variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return the variables of a call by their documented names, and the names that are unknown (`about_me.age`).

        Raises:
            InvalidInputError: no variable is known, or one is given under two names.
        """
        known: dict[str, Any] = {}
        ignored: list[str] = []
        for name, value in variables.items():
            plain = plain_name(name)
            meant = name if name in self._names else self.other_names.get(plain, self._by_plain_name.get(plain))
            if meant is None:
                ignored.append(name)
            elif meant in known:
                raise InvalidInputError("A variable is given twice", {name: f"means {meant}, which is also given"})
            else:
                known[meant] = value
                inner = self._names[meant].get("properties")
                if inner and isinstance(value, Mapping):
                    ignored += [f"{name}.{key}" for key in value if key not in inner]
        if not known:
            raise InvalidInputError("The call has no variable that the block knows", self._problems(ignored))
        return known, ignored

    @property
    def _names(self) -> Mapping[str, Any]:
        names: Mapping[str, Any] = self.variables["properties"]
        return names

    @cached_property
    def _by_plain_name(self) -> dict[str, str]:
        return {plain_name(name): name for name in self._names}

    def _problems(self, unknown: list[str]) -> dict[str, str]:
        if not unknown:
            missing = dict.fromkeys(self.variables.get("required", []), "is missing")
            return missing or {"variables": f"give at least one of {', '.join(self._names)}"}
        plain_names = {**self._by_plain_name, **self.other_names}
        problems = {}
        for name in unknown[:MAX_NAMES_LISTED]:
            nearest = get_close_matches(plain_name(name), plain_names, n=1, cutoff=0.5)
            known = f"did you mean {plain_names[nearest[0]]}?" if nearest else f"known are {', '.join(self._names)}"
            problems[name[:MAX_NAME_CHARACTERS]] = f"is unknown; {known}"
        return problems


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
        "description": "A passenger. Attributes that are absent, null or empty are unknown; at least one is given. "
        "Names may be written in another case, or as in the CSV (Pclass, Name). Other names are listed in `ignored`.",
        "properties": {column.name: attribute_schema(column) for column in ATTRIBUTES},
        "anyOf": [{"required": [column.name]} for column in ATTRIBUTES],
    }


def _about_me_schema() -> dict[str, Any]:
    bio = {"type": "string", "minLength": 1, "maxLength": MAX_BIO_CHARACTERS, "pattern": r"\S"}
    about_me = {"type": "object", "properties": {"bio": bio}, "required": ["bio"]}
    return {"type": "object", "properties": {"about_me": about_me}, "required": ["about_me"]}


def _load_model() -> None:
    # Scikit-learn takes most of a second, and `make demo` only wants the examples.
    from workflows.ml_training_and_inference.champion import load_champion  # noqa: PLC0415

    load_champion(get_settings().models_dir)


MAX_NAMES_LISTED = 10
MAX_NAME_CHARACTERS = 100

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
        ATTRIBUTE_BY_PLAIN_NAME,
    ),
    CallableBlock(
        "ml_training_and_inference",
        "explain_prediction",
        "Predict, and explain the prediction in words",
        _passenger_schema(),
        PASSENGER_EXAMPLE,
        other_names=ATTRIBUTE_BY_PLAIN_NAME,
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
