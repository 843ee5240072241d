"""Prompt files: `prompts/<name>.yaml`, one an AI block.

    version: "1"            kept with every answer
    system: |               who the model is and the rules; same for every call
    inputs: [number, facts] what the block hands over
    prompt: |               names each input in braces: {number}
    examples: [...]         inputs and the answer wanted for them, shown to the model before the question
    output:
      format:               one entry a field: a JSON Schema; all fields are required, no other is allowed
    validation:             see `Validation`
    model:                  max_tokens, temperature

A file with an unknown key, an input that is missing or unused, or a format that is no JSON Schema is refused
when it is loaded.
"""

import json
import string
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import jsonschema
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from workflows.errors import InvalidInputError
from workflows.settings import REPO_PATH

PROMPTS_DIR = REPO_PATH / "prompts"

Message = dict[str, str]


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
    """When an answer is taken, the output format aside."""

    max_attempts: int = Field(default=3, ge=1, le=5)
    equals: dict[str, str] = Field(
        default_factory=dict, description="Field of the answer: input that it has to repeat."
    )
    mentions: dict[str, list[str]] = Field(
        default_factory=dict, description="Field of the answer: inputs whose text has to stand in it."
    )
    forbidden: list[str] = Field(
        default_factory=list, description="Texts that no field may hold; upper and lower case are the same."
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
        named = {field for _, field, _, _ in string.Formatter().parse(self.prompt) if field is not None}
        if missing := sorted(named - set(self.inputs)):
            raise ValueError(f"the prompt names {missing}, which are not among its inputs")
        if unused := sorted(set(self.inputs) - named):
            raise ValueError(f"the inputs {unused} are not named in the prompt")
        jsonschema.Draft202012Validator.check_schema(self.schema_)
        for field, name in self.validation.equals.items():
            self._check_rule("equals", field, [name])
        for field, names in self.validation.mentions.items():
            self._check_rule("mentions", field, names)
        for example in self.examples:
            if set(example.inputs) != set(self.inputs):
                raise ValueError(f"an example has the inputs {sorted(example.inputs)}, not {sorted(self.inputs)}")
            if (reason := self.misfit(example.answer)) is not None:
                raise ValueError(f"the answer of an example does not fit the output format: {reason}")
        return self

    def _check_rule(self, rule: str, field: str, names: list[str]) -> None:
        if field not in self.output.format:
            raise ValueError(f"validation.{rule} names the field {field}, which the output format lacks")
        if unknown := sorted(set(names) - set(self.inputs)):
            raise ValueError(f"validation.{rule} names {unknown}, which are not among the inputs")

    @cached_property
    def schema_(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of an answer."""
        return {
            "type": "object",
            "properties": self.output.format,
            "required": list(self.output.format),
            "additionalProperties": False,
        }

    def messages(self, inputs: Mapping[str, str]) -> list[Message]:
        """Return the conversation that asks the question; the parts that never change come first.

        Raises:
            InvalidInputError: an input is missing or is not one of the prompt's.
        """
        if set(inputs) != set(self.inputs):
            wrong = {name: "is missing" for name in self.inputs if name not in inputs}
            wrong |= {name: "is no input of the prompt" for name in inputs if name not in self.inputs}
            raise InvalidInputError(f"The prompt {self.name} takes other inputs", wrong)
        turns: list[Message] = [{"role": "system", "content": self.system}]
        for example in self.examples:
            turns.append({"role": "user", "content": self.prompt.format(**example.inputs)})
            turns.append({"role": "assistant", "content": json.dumps(example.answer, ensure_ascii=False)})
        return [*turns, {"role": "user", "content": self.prompt.format(**inputs)}]

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
        text = json.dumps(answer, ensure_ascii=False).casefold()
        for forbidden in rules.forbidden:
            if forbidden.casefold() in text:
                return f"{forbidden!r} must not stand in the answer"
        return None


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
