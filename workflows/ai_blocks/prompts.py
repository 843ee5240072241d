"""Prompt files: `prompts/<name>.yaml`, one an AI block.

    version: "1"            kept with every answer
    system: |               who the model is and the rules; same for every call
    inputs: [number, facts] what the block hands over; `facts` is filled from the facts, one a line
    may_be_cut: [facts]     inputs that are shortened, the most important lines first, where a context is too small
    prompt: |               names each input in braces: {number}
    examples: [...]         inputs and the answer wanted for them, shown to the model before the question
    output:
      format:               one entry a field: a JSON Schema; all fields are required, no other is allowed
    validation:             see `Validation`
    model:                  max_tokens, temperature

A file with an unknown key, an input that is missing or unused, a format that is no JSON Schema, or a field
for which nothing says what it is when no answer of the model passes, is refused when it is loaded.
"""

import hashlib
import json
import string
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import jsonschema
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from workflows.ai_blocks.dialect import Message
from workflows.ai_blocks.untrusted import as_data
from workflows.common.errors import InvalidInputError
from workflows.common.settings import REPO_PATH

PROMPTS_DIR = REPO_PATH / "prompts"

FACTS_INPUT = "facts"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Strict):
    """How the model is asked."""

    max_tokens: int = Field(gt=0, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=2)
    retry_temperature: float = Field(
        default=0.5, ge=0, le=2, description="From the second attempt on, lest the same answer comes back."
    )


class Validation(_Strict):
    """When an answer is taken, the output format aside, and what stands in its place where none is."""

    max_attempts: int = Field(default=3, ge=1, le=5)
    grounded: list[str] = Field(
        default_factory=list,
        description="Fields that may say nothing beyond the facts; without a good answer, the facts themselves.",
    )
    equals: dict[str, str] = Field(
        default_factory=dict, description="Field of the answer: input that it has to repeat, and else is."
    )
    mentions: dict[str, list[str]] = Field(
        default_factory=dict, description="Field of the answer: inputs whose text has to stand in it."
    )
    forbidden: list[str] = Field(
        default_factory=list, description="Texts that no field may hold; upper and lower case are the same."
    )
    otherwise: dict[str, Any] = Field(
        default_factory=dict,
        description="Field: value where no answer passes, for fields that no rule above gives one.",
    )


class Output(_Strict):
    """What the model has to answer."""

    format: dict[str, dict[str, Any]] = Field(min_length=1)


class Example(_Strict):
    """A question with the answer wanted."""

    inputs: dict[str, str]
    answer: dict[str, Any]


class Prompt(_Strict):
    """A prompt file; see the module for its keys."""

    name: str
    version: str
    system: str
    inputs: list[str] = Field(min_length=1)
    may_be_cut: list[str] = Field(default_factory=list)
    prompt: str
    examples: list[Example] = Field(default_factory=list)
    output: Output
    validation: Validation = Validation()
    model: ModelSettings

    @field_validator("system", "prompt")
    @classmethod
    def _not_blank(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("is empty")
        return text.strip()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        places = [(field, form or conversion) for _, field, form, conversion in string.Formatter().parse(self.prompt)]
        named = {field for field, _ in places if field is not None}
        if wrong := sorted(field for field, more in places if field is not None and (more or not field.isidentifier())):
            raise ValueError(f"the prompt names its inputs as {{name}} and no other way; look at {wrong}")
        if len(set(self.inputs)) < len(self.inputs):
            raise ValueError("an input is named twice")
        if missing := sorted(named - set(self.inputs)):
            raise ValueError(f"the prompt names {missing}, which are not among its inputs")
        if unused := sorted(set(self.inputs) - named):
            raise ValueError(f"the inputs {unused} are not named in the prompt")
        if unknown := sorted(set(self.may_be_cut) - set(self.inputs)):
            raise ValueError(f"may_be_cut names {unknown}, which are not among the inputs")
        jsonschema.Draft202012Validator.check_schema(self.schema_)
        if unknown := sorted(_unknown_keywords(self.schema_)):
            raise ValueError(f"the output format has {unknown}, which are no keywords of JSON Schema")
        self._check_rules()
        for example in self.examples:
            if set(example.inputs) != set(self.inputs):
                raise ValueError(f"an example has the inputs {sorted(example.inputs)}, not {sorted(self.inputs)}")
            if (reason := self.misfit(example.answer)) is not None:
                raise ValueError(f"the answer of an example does not fit the output format: {reason}")
            if (reason := self.broken_rule(example.answer, example.inputs)) is not None:
                raise ValueError(f"the answer of an example breaks the validation: {reason}")
        return self

    def _check_rules(self) -> None:
        rules, fields = self.validation, set(self.output.format)
        named = {
            "grounded": rules.grounded,
            "equals": rules.equals,
            "mentions": rules.mentions,
            "otherwise": rules.otherwise,
        }
        for rule, names in named.items():
            if lacking := sorted(set(names) - fields):
                raise ValueError(f"validation.{rule} names {lacking}, which the output format lacks")
        mentioned = [name for names in rules.mentions.values() for name in names]
        for rule, inputs in (("equals", [*rules.equals.values()]), ("mentions", mentioned)):
            if unknown := sorted(set(inputs) - set(self.inputs)):
                raise ValueError(f"validation.{rule} names {unknown}, which are not among the inputs")
        given = [*rules.grounded, *rules.equals, *rules.otherwise]
        if wrong := sorted(field for field in fields if given.count(field) != 1):
            raise ValueError(
                f"the fields {wrong} have to be in one of validation.grounded, equals and otherwise, which say what "
                "they are where no answer of the model passes"
            )
        if wrong := sorted(
            n for n in (*rules.grounded, *rules.equals) if self.output.format[n].get("type") != "string"
        ):
            raise ValueError(f"the fields {wrong} are grounded or equal to an input, so their type has to be string")
        for field, value in rules.otherwise.items():
            if not jsonschema.Draft202012Validator(self.output.format[field]).is_valid(value):
                raise ValueError(f"validation.otherwise.{field} does not fit the output format")

    @cached_property
    def schema_(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of an answer."""
        return {
            "type": "object",
            "properties": self.output.format,
            "required": list(self.output.format),
            "additionalProperties": False,
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that the file says: a change without a new version is another prompt all the same."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def messages(self, inputs: Mapping[str, str], with_examples: bool = True) -> list[Message]:
        """Return the conversation that asks the question; the parts that never change come first.

        Inputs are data: they cannot pose as another part of the conversation (`untrusted.as_data`).

        Raises:
            InvalidInputError: an input is missing or is not one of the prompt's.
        """
        if set(inputs) != set(self.inputs):
            wrong = {name: "is missing" for name in self.inputs if name not in inputs}
            wrong |= {name: "is no input of the prompt" for name in inputs if name not in self.inputs}
            raise InvalidInputError(f"The prompt {self.name} takes other inputs", wrong)
        turns: list[Message] = [{"role": "system", "content": self.system}]
        for example in self.examples if with_examples else []:
            turns.append({"role": "user", "content": self.prompt.format(**example.inputs)})
            turns.append({"role": "assistant", "content": json.dumps(example.answer, ensure_ascii=False)})
        data = {name: as_data(text) for name, text in inputs.items()}
        return [*turns, {"role": "user", "content": self.prompt.format(**data)}]

    def misfit(self, answer: Any) -> str | None:
        """Say where an answer does not fit the output format, None where it does."""
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(self.schema_).iter_errors(answer))
        if error is None:
            return None
        where = ".".join(str(part) for part in error.absolute_path)
        return f"{where}: {error.message}" if where else str(error.message)

    def broken_rule(self, answer: Mapping[str, Any], inputs: Mapping[str, str]) -> str | None:
        """Say which rule of `validation` an answer that fits the format breaks, None where it keeps all."""
        rules = self.validation
        for field, name in rules.equals.items():
            if str(answer[field]) != inputs[name]:
                return f"{field} has to be {inputs[name]!r}"
        for field, names in rules.mentions.items():
            for name in names:
                if inputs[name].casefold() not in str(answer[field]).casefold():
                    return f"{field} has to mention {inputs[name]!r}"
        texts = [text.casefold() for text in _texts(answer)]
        for forbidden in rules.forbidden:
            if any(forbidden.casefold() in text for text in texts):
                return f"{forbidden!r} must not stand in the answer"
        return None


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value; names of fields are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


_KEYWORDS = frozenset(jsonschema.Draft202012Validator.VALIDATORS) | {
    "$defs", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "then", "else",
}  # fmt: skip
# What stands below them are names with a schema each, or values.
_OF_NAMES = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
_OF_VALUES = frozenset({"enum", "const", "default", "examples", "required", "dependentRequired"})


def _unknown_keywords(schema: Any) -> Iterator[str]:
    """Yield what JSON Schema would silently pass over: mostly a keyword that is misspelt."""
    if isinstance(schema, list):
        for part in schema:
            yield from _unknown_keywords(part)
    elif isinstance(schema, Mapping):
        for keyword, value in schema.items():
            if keyword not in _KEYWORDS:
                yield str(keyword)
            elif keyword in _OF_NAMES:
                for part in value.values():
                    yield from _unknown_keywords(part)
            elif keyword not in _OF_VALUES:
                yield from _unknown_keywords(value)


def load_prompt(name: str, folder: Path = PROMPTS_DIR) -> Prompt:
    """Read and check a prompt file.

    Raises:
        InvalidInputError: there is none of this name, or it is not what the module says; names the keys.
    """
    path = folder / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInputError(f"There is no prompt file {path}") from None
    except yaml.YAMLError as error:
        raise InvalidInputError(f"The prompt file {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"The prompt file {path} is no mapping")
    try:
        return Prompt(**{**content, "name": name})
    except ValidationError as error:
        fields = {".".join(map(str, issue["loc"])) or "file": issue["msg"] for issue in error.errors()}
        raise InvalidInputError(f"The prompt file {path} is wrong", fields) from error
    except jsonschema.SchemaError as error:
        raise InvalidInputError(f"The output format of {path} is no JSON Schema: {error.message}") from error
