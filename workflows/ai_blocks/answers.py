"""Ask a model, check what it answers, ask again with the reason, and fall back to the answer made by code."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from workflows.ai_blocks import usage
from workflows.ai_blocks.cache import AnswerCache
from workflows.ai_blocks.checks import Check
from workflows.ai_blocks.client import LanguageModel, RequestTooLargeError
from workflows.ai_blocks.completions import Completion, has_begun_object, parse_json_object
from workflows.ai_blocks.prompts import Message, Prompt, as_json, load_prompt
from workflows.ai_blocks.untrusted import as_data, sanitised
from workflows.common.errors import InvalidInputError, ServiceError
from workflows.common.settings import Settings, get_settings

logger = logging.getLogger(__name__)

MAX_TOKENS = 8192
# A reason may quote what the model wrote.
MAX_REASON_CHARACTERS = 300
# Conservative for English, whose tokens have about four characters.
CHARACTERS_PER_TOKEN = 3
VALIDATION_SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string", "maxLength": 200}, "valid": {"type": "boolean"}},
    "required": ["reason", "valid"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Refusal:
    """Why an attempt was not accepted.

    Attributes:
        check: `format`, the name of a check, or `validation` where the model refused its own answer.
        reason: In words; the model is told them at the next attempt.
    """

    check: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """The answer of an AI block and where it comes from.

    Attributes:
        values: The fields of the prompt's output format.
        source: "model", or "facts" where no attempt passed and code made the answer.
        checked: Field: names of the checks that it passed.
        unchecked: Fields that no check looks at: the model's own judgement.
        model: Model that was asked.
        prompt_version: Version of the prompt file.
        attempts: Number of calls for an answer.
        input_tokens: Tokens read in all calls.
        output_tokens: Tokens written in all calls.
        seconds: Time of all calls.
        refusals: Why earlier attempts were refused.
        cached: Whether the answer was kept from an earlier call, which spent the tokens and seconds.
    """

    values: dict[str, Any]
    source: Literal["model", "facts"]
    checked: dict[str, list[str]]
    unchecked: tuple[str, ...]
    model: str
    prompt_version: str
    attempts: int
    input_tokens: int
    output_tokens: int
    seconds: float
    refusals: tuple[Refusal, ...]
    cached: bool = False

    def provenance(self) -> dict[str, Any]:
        """Return what every block's output says about its answer, as JSON."""
        kept = {name: value for name, value in asdict(self).items() if name != "values"}
        return {
            **kept,
            "unchecked": list(self.unchecked),
            "refusals": list(kept["refusals"]),
            "seconds": round(self.seconds, 3),
            "tokens": self.input_tokens + self.output_tokens,
        }


def ask(
    prompt: str | Prompt,
    inputs: Mapping[str, Any],
    *,
    fallback: Mapping[str, Any] | None = None,
    checks: Sequence[Check] = (),
    model: LanguageModel | None = None,
    pipeline_run_id: int | None = None,
) -> Answer:
    """Ask until an answer fits the format and passes every check, else answer with the fallback.

    The same question is asked once: its answer is kept (`LLM_CACHE`) and checked again when it is used.

    Args:
        prompt: Name of the prompt file.
        inputs: JSON value for each input of the prompt. Their texts are data: see `untrusted.as_data`.
        fallback: Field: value of the answer made by code; added to the fallback of the prompt file.
        checks: Further checks, by code of the block's domain.
        model: Model to use; by default the configured one. Answers of a given one are not kept.
        pipeline_run_id: Run to which the tokens are added, None outside of a run.

    Raises:
        InvalidInputError: the prompt file is wrong, has other inputs, or a field has no fallback.
        ServiceError: the model's server could not be reached, or refused.
    """
    settings = get_settings()
    question = _Question(load_prompt(prompt) if isinstance(prompt, str) else prompt, inputs, fallback or {}, checks)
    spent: list[Completion] = []
    if model is not None:
        return _ask_model(question, model, settings.llm_context_tokens, spent)
    try:
        answer = _ask_or_reuse(question, settings, spent)
    except ServiceError:
        if spent:
            failed = {"source": "failed", "cached": False, **_totals(spent)}
            _record_usage(settings, pipeline_run_id, {"prompt": question.prompt.name, **failed})
        raise
    logger.info("%s: %s", question.prompt.name, _summary(answer))
    _record_usage(settings, pipeline_run_id, {"prompt": question.prompt.name, **answer.provenance()})
    return answer


class _Question:
    """A prompt with its inputs, and what decides whether an answer is accepted."""

    def __init__(self, prompt: Prompt, inputs: Mapping[str, Any], fallback: Mapping[str, Any], checks: Sequence[Check]):
        prompt.check_inputs(inputs)
        self.prompt = prompt
        self.inputs: dict[str, Any] = sanitised(inputs)
        self._checks: tuple[Check, ...] = (*prompt.checks, *checks)
        of_file = {
            field: prompt.render(value, self.inputs) if isinstance(value, str) else value
            for field, value in prompt.fallback.items()
        }
        self.fallback = {**of_file, **fallback}
        if (problem := prompt.format_problem(self.fallback)) is not None:
            raise InvalidInputError(f"The fallback does not fit the output format of {prompt.name}: {problem}")
        # Says which input is wrong before the model is called.
        prompt.messages(self.inputs)

    def identity(self) -> dict[str, Any]:
        """Return what makes this question the same as another, the model aside."""
        return {"prompt": self.prompt.name, "fingerprint": self.prompt.fingerprint, "inputs": self.inputs}

    def refusal(self, values: Mapping[str, Any]) -> Refusal | None:
        """Say why an answer is not accepted, None where it is."""
        if (problem := self.prompt.format_problem(values)) is not None:
            return Refusal("format", problem)
        for check in self._checks:
            if (problem := check.problem(values, self.inputs)) is not None:
                return Refusal(check.name, problem)
        return None

    def answer(self, values: dict[str, Any] | None, **details: Any) -> Answer:
        """Return the answer of the model, or the fallback where there is none."""
        if values is None:
            by_code = {field: ["computed"] for field in self.fallback}
            return Answer(self.fallback, "facts", by_code, (), prompt_version=self.prompt.version, **details)
        checked: dict[str, list[str]] = {}
        for check in self._checks:
            checked.setdefault(check.checked_field, []).append(check.name)
        unchecked = tuple(field for field in self.prompt.output.format if field not in checked)
        return Answer(values, "model", checked, unchecked, prompt_version=self.prompt.version, **details)

    def reused(self, kept: Mapping[str, Any] | None) -> Answer | None:
        """Return an answer that was kept, None where there is none that passes."""
        try:
            details = {**(kept or {})["details"], "cached": True}
            details |= {"refusals": tuple(Refusal(**one) for one in details["refusals"])}
            values = (kept or {})["values"]
            if values is None or (isinstance(values, dict) and self.refusal(values) is None):
                return self.answer(values, **details)
        except (KeyError, TypeError):
            pass
        return None


def _ask_or_reuse(question: _Question, settings: Settings, spent: list[Completion]) -> Answer:
    model = LanguageModel(settings)
    if not settings.llm_cache:
        return _ask_model(question, model, settings.llm_context_tokens, spent)
    cache = AnswerCache(settings.llm_dir / "answers", settings.llm_cache_max_bytes, settings.llm_wait_seconds)
    key = cache.key({**question.identity(), "model": model.identity})
    with cache.locked(key):
        answer = question.reused(cache.get(key))
        if answer is None:
            answer = _ask_model(question, model, settings.llm_context_tokens, spent)
            # A larger context, or a server that writes something, would answer better.
            if any(completion.text for completion in spent):
                details = {name: value for name, value in asdict(answer).items() if name in _DETAILS}
                values = answer.values if answer.source == "model" else None
                with _disk_errors_logged("The answer is not kept"):
                    cache.put(key, {"values": values, "details": details})
    return answer


_DETAILS = ("model", "attempts", "input_tokens", "output_tokens", "seconds", "refusals")


def _ask_model(
    question: _Question, model: LanguageModel, context_tokens: int | None, spent: list[Completion]
) -> Answer:
    """Call the model; see `ask`. Every completion is added to `spent`."""
    prompt = question.prompt
    refusals: list[Refusal] = []
    values: dict[str, Any] | None = None
    attempts, max_tokens, largest = 0, prompt.model.max_tokens, MAX_TOKENS
    with_examples = _fits(prompt.messages(question.inputs), max_tokens, context_tokens)
    max_attempts = min(prompt.max_attempts, model.max_attempts or prompt.max_attempts)
    while values is None and attempts < max_attempts:
        messages = _with_refusal(prompt.messages(question.inputs, with_examples), refusals)
        temperature = prompt.model.retry_temperature if attempts else prompt.model.temperature
        try:
            if not _fits(messages, max_tokens, context_tokens):
                raise RequestTooLargeError("the prompt does not fit into LLM_CONTEXT_TOKENS")
            completion = model.complete(messages, prompt.schema_, max_tokens, temperature)
        except RequestTooLargeError as error:
            if max_tokens > prompt.model.max_tokens:
                max_tokens = largest = prompt.model.max_tokens
            elif with_examples and prompt.examples:
                with_examples = False
            else:
                logger.warning("%s: %s", prompt.name, error)
                refusals.append(Refusal("context", str(error)[:MAX_REASON_CHARACTERS]))
                break
            continue
        attempts += 1
        spent.append(completion)
        values, refusal = _read(question, completion)
        if values is not None and prompt.output.validation:
            refusal = _own_validation(question, values, model, spent)
            values = values if refusal is None else None
        if refusal is not None:
            logger.info("%s: attempt %d refused by %s: %s", prompt.name, attempts, refusal.check, refusal.reason)
            refusals.append(refusal)
        if completion.is_cut and not has_begun_object(completion.text):
            # A model that thinks first may need many times the tokens of its answer.
            max_tokens = min(largest, 4 * max_tokens)
    name = spent[-1].model if spent else model.identity
    return question.answer(values, model=name, attempts=attempts, refusals=tuple(refusals), **_totals(spent))


def _fits(messages: Sequence[Message], max_tokens: int, context_tokens: int | None) -> bool:
    characters = sum(len(message["content"]) for message in messages)
    return context_tokens is None or characters <= (context_tokens - max_tokens) * CHARACTERS_PER_TOKEN


def _read(question: _Question, completion: Completion) -> tuple[dict[str, Any] | None, Refusal | None]:
    """Return the fields of an answer, or None and why it is refused."""
    values = None if completion.is_cut else parse_json_object(completion.text, question.prompt.output.format)
    if values is None:
        reason = "not a whole JSON object" if completion.text.strip() else "empty"
        return None, Refusal("format", "the answer was " + ("too long and cut off" if completion.is_cut else reason))
    refusal = question.refusal(values)
    if refusal is None:
        return values, None
    # The reason goes into the next prompt, the log and the output, so it is data like any input.
    return None, Refusal(refusal.check, as_data(refusal.reason)[:MAX_REASON_CHARACTERS])


def _own_validation(
    question: _Question, values: Mapping[str, Any], model: LanguageModel, spent: list[Completion]
) -> Refusal | None:
    """Have the model judge its answer by the sentence in `output.validation`; return why it is refused."""
    prompt = question.prompt
    rule = (
        f"Judge an answer by this rule: {prompt.output.validation} Say in one sentence why, then whether it is valid."
    )
    asked = f"{prompt.render(prompt.prompt, question.inputs)}\n\nAnswer to judge: {as_json(values)}"
    messages = [{"role": "system", "content": rule}, {"role": "user", "content": asked}]
    completion = model.complete(messages, VALIDATION_SCHEMA, prompt.model.max_tokens, 0.0)
    spent.append(completion)
    judged = parse_json_object(completion.text, VALIDATION_SCHEMA["properties"]) or {}  # type: ignore[arg-type]
    if judged.get("valid") is True:
        return None
    reason = str(judged.get("reason") or "the model did not say that its answer is valid")
    return Refusal("validation", as_data(reason)[:MAX_REASON_CHARACTERS])


def _with_refusal(messages: list[Message], refusals: Sequence[Refusal]) -> list[Message]:
    """Add the reason of the last refusal to the question; small models would repeat a refused answer that they see."""
    if not refusals:
        return messages
    *before, question = messages
    reason = f"(An earlier answer was refused: {refusals[-1].reason}.)"
    return [*before, question | {"content": f"{question['content']}\n{reason}"}]


def _totals(spent: Sequence[Completion]) -> dict[str, Any]:
    return {
        "input_tokens": sum(completion.input_tokens for completion in spent),
        "output_tokens": sum(completion.output_tokens for completion in spent),
        "seconds": sum(completion.seconds for completion in spent),
    }


def _record_usage(settings: Settings, pipeline_run_id: int | None, entry: Mapping[str, Any]) -> None:
    with _disk_errors_logged("The tokens are not recorded"):
        total = usage.record(settings.llm_dir / "usage", pipeline_run_id, entry)
        logger.info("Language model in this run so far: %s", total)


@contextlib.contextmanager
def _disk_errors_logged(what: str) -> Iterator[None]:
    """An answer that was paid for is not lost because a disk is full."""
    try:
        yield
    except OSError as error:
        logger.warning("%s: %s", what, error.strerror)


def _summary(answer: Answer) -> str:
    if answer.cached:
        return f"reused the answer that {answer.model} gave before (source: {answer.source})"
    tokens = f"{answer.input_tokens} tokens read, {answer.output_tokens} written"
    return f"source {answer.source} after {answer.attempts} attempts of {answer.model}, {tokens}"
