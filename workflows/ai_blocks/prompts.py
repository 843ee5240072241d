"""Prompt files: `prompts/<name>.yaml`, one for each AI block. `prompts/README.md` explains the keys.

A file with an unknown key, a name that is no input, a format that is no JSON Schema or a check of a field that does not
exist is refused when it is loaded.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

import jinja2
import jsonschema
import yaml
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from workflows.ai_blocks.checks import DECLARED, Check, DeclaredCheck, Refusal, root
from workflows.common.errors import InvalidInputError
from workflows.common.settings import REPO_PATH

PROMPTS_DIR = REPO_PATH / "prompts"
Message = dict[str, str]

_JINJA = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def as_json(value: Any) -> str:
    """Write a value as JSON for a model: one line, characters as they are."""
    return json.dumps(value, ensure_ascii=False)


_JINJA.filters["json"] = as_json
_template = lru_cache(maxsize=256)(_JINJA.from_string)


def object_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an object that has all of these fields, each with its own schema, and no other."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _declared_check(entry: Any) -> DeclaredCheck:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise ValueError(f"a check is written as {{name: options}}, not {entry!r:.60}")
    ((name, options),) = entry.items()
    if name not in DECLARED:
        raise ValueError(f"there is no check {name!r}; there are {', '.join(DECLARED)}")
    return DECLARED[name].model_validate(options)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ModelSettings(_Strict):
    """How the model is called; another temperature from the second attempt on makes another answer."""

    max_tokens: int = Field(gt=0, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=2)
    retry_temperature: float = Field(default=0.5, ge=0, le=2)


class Output(_Strict):
    """What the model has to answer."""

    format: dict[str, dict[str, Any]] = Field(min_length=1)
    validation: str | None = Field(default=None, min_length=1)


class Example(_Strict):
    """Inputs with the answer wanted for them."""

    inputs: dict[str, Any]
    answer: dict[str, Any]


class Prompt(_Strict):
    """A prompt file."""

    name: str
    version: str
    system: str = Field(pattern=r"\S")
    inputs: list[str] = Field(min_length=1)
    prompt: str = Field(pattern=r"\S")
    examples: list[Example] = []
    output: Output
    checks: list[Annotated[Any, BeforeValidator(_declared_check)]] = []
    fallback: dict[str, Any] = {}
    max_attempts: int = Field(default=3, ge=1, le=5)
    model: ModelSettings

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        jsonschema.Draft202012Validator.check_schema(self.schema_)
        templates = [self.prompt, *(value for value in self.fallback.values() if isinstance(value, str))]
        used = {name for text in templates for name in meta.find_undeclared_variables(_JINJA.parse(text))}
        used |= {root(path) for check in self.checks for path in check.inputs}
        if wrong := sorted(used ^ set(self.inputs)):
            raise ValueError(f"{wrong} are inputs that nothing uses, or are used and no inputs")
        fields = {check.checked_field for check in self.checks} | set(self.fallback)
        if wrong := sorted(fields - set(self.output.format)):
            raise ValueError(f"checks or fallback name {wrong}, which the output format lacks")
        for number, example in enumerate(self.examples):
            if set(example.inputs) != set(self.inputs):
                raise ValueError(f"example {number} has the inputs {sorted(example.inputs)}, not {sorted(self.inputs)}")
            if refusal := self.refusal(example.answer, example.inputs, self.checks):
                raise ValueError(f"the answer of example {number} is not valid: {refusal.reason}")
        return self

    @cached_property
    def schema_(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of an answer."""
        return object_schema(self.output.format)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the whole file: a change without a new version is another prompt, too."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Refuse other inputs than those of the file.

        Raises:
            InvalidInputError: `.fields` names the inputs that are missing or unknown.
        """
        wrong = {name: "is missing" for name in self.inputs if name not in inputs}
        wrong |= {name: "is not an input of the prompt" for name in inputs if name not in self.inputs}
        if wrong:
            raise InvalidInputError(f"The prompt {self.name} has other inputs", wrong)

    def messages(
        self, inputs: Mapping[str, Any], with_examples: bool = True, refused: str | None = None
    ) -> list[Message]:
        """Return the conversation that asks the question; the parts that never change come first.

        Of the last answer, only why it was refused is told: small models would repeat an answer that they see.

        Raises:
            InvalidInputError: the template uses something that the inputs do not have.
        """
        turns: list[Message] = [{"role": "system", "content": self.system.strip()}]
        for example in self.examples if with_examples else []:
            turns.append({"role": "user", "content": self.render(self.prompt, example.inputs)})
            turns.append({"role": "assistant", "content": as_json(example.answer)})
        question = self.render(self.prompt, inputs)
        if refused is not None:
            question += f"\n(An earlier answer was refused: {refused}.)"
        return [*turns, {"role": "user", "content": question}]

    def render(self, template: str, inputs: Mapping[str, Any]) -> str:
        """Render a Jinja template of this file.

        Raises:
            InvalidInputError: it uses something that the inputs do not have, or that the sandbox forbids.
        """
        try:
            return _template(template).render(inputs).strip()
        except (jinja2.TemplateError, TypeError) as error:
            raise InvalidInputError(f"The prompt {self.name} cannot be rendered: {error}") from error

    def rendered_fallback(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fallback of the file for these inputs; see `render` for the error."""
        fallback = self.fallback.items()
        return {name: self.render(value, inputs) if isinstance(value, str) else value for name, value in fallback}

    def format_problem(self, answer: Any) -> str | None:
        """Say where an answer does not fit the output format, None where it does."""
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(self.schema_).iter_errors(answer))
        return None if error is None else f"{error.json_path}: {error.message}"

    def refusal(self, answer: Mapping[str, Any], inputs: Mapping[str, Any], checks: Iterable[Check]) -> Refusal | None:
        """Return why an answer is not accepted, None where it fits the output format and passes the checks."""
        if problem := self.format_problem(answer):
            return Refusal("format", problem)
        refusals = (Refusal(check.name, problem) for check in checks if (problem := check.problem(answer, inputs)))
        return next(refusals, None)


def preload_prompts(folder: Path = PROMPTS_DIR) -> None:
    """Read the prompt files and compile their templates, for the processes that are forked from this one."""
    for path in folder.glob("*.yaml"):
        # A wrong file is reported where it is used.
        with contextlib.suppress(InvalidInputError):
            prompt = load_prompt(path.stem, folder)
            for example in prompt.examples:
                prompt.messages(example.inputs)


def load_prompt(name: str, folder: Path = PROMPTS_DIR) -> Prompt:
    """Read and check a prompt file; a file that did not change is read once per process.

    Raises:
        InvalidInputError: there is no such file, or it is wrong; names the keys.
    """
    path = folder / f"{name}.yaml"
    try:
        return _read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise InvalidInputError(f"There is no prompt file {path}") from None


@lru_cache(maxsize=64)
def _read(path: Path, _changed_at: int) -> Prompt:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise InvalidInputError(f"The prompt file {path} is not a mapping")
        return Prompt(**{**content, "name": path.stem})
    except yaml.YAMLError as error:
        raise InvalidInputError(f"The prompt file {path} is not YAML: {error}") from error
    except ValidationError as error:
        fields = {".".join(map(str, issue["loc"])) or "file": issue["msg"] for issue in error.errors()}
        raise InvalidInputError(f"The prompt file {path} is wrong", fields) from error
    except (jsonschema.SchemaError, jinja2.TemplateSyntaxError) as error:
        raise InvalidInputError(f"The prompt file {path} is wrong: {error.message}") from error
