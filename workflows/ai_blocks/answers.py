"""Ask a model, check what it answers, ask again with the reason, and fall back to the answer made by code."""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from workflows.ai_blocks import usage
from workflows.ai_blocks.cache import AnswerCache
from workflows.ai_blocks.checks import Check, Refusal
from workflows.ai_blocks.client import LanguageModel, RequestTooLargeError
from workflows.ai_blocks.completions import Completion, has_begun_object, parse_json_object
from workflows.ai_blocks.prompts import Prompt, as_json, load_prompt, object_schema
from workflows.ai_blocks.untrusted import as_data, sanitised
from workflows.common.errors import InvalidInputError, ServiceError
from workflows.common.settings import Settings, get_settings

logger = logging.getLogger(__name__)

MAX_TOKENS = 8192
# A reason may quote what the model wrote.
MAX_REASON_CHARACTERS = 300
# Conservative for English, whose tokens have about four characters.
CHARACTERS_PER_TOKEN = 3
VALIDATION_FORMAT = {"reason": {"type": "string", "maxLength": 200}, "valid": {"type": "boolean"}}


@dataclass(frozen=True)
class Answer:
    """The answer of an AI block and where it comes from."""

    values: dict[str, Any]  # The fields of the prompt's output format.
    source: Literal["model", "facts"]  # "facts" where no attempt passed and code made the answer.
    checked: dict[str, list[str]]  # Field: names of the checks that it passed.
    unchecked: list[str]  # Fields that no check looks at: the model's own judgement.
    model: str  # Model that was asked.
    prompt_version: str  # Version of the prompt file.
    attempts: int  # Number of calls for an answer.
    input_tokens: int  # Tokens read in all calls.
    output_tokens: int  # Tokens written in all calls.
    seconds: float  # Time of all calls.
    refusals: list[Refusal]  # Why earlier attempts were refused.
    cached: bool = False  # Whether it was kept from an earlier call, which spent the tokens and seconds.

    def provenance(self) -> dict[str, Any]:
        """Return what every block's output says about its answer, as JSON."""
        said = asdict(self) | {"seconds": round(self.seconds, 3), "tokens": self.input_tokens + self.output_tokens}
        return {name: value for name, value in said.items() if name != "values"}


_KEPT_ANSWER = TypeAdapter(Answer)


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
    prompt = load_prompt(prompt) if isinstance(prompt, str) else prompt
    prompt.check_inputs(inputs)
    inputs = sanitised(inputs)
    by_code = {**prompt.rendered_fallback(inputs), **(fallback or {})}
    if problem := prompt.format_problem(by_code):
        raise InvalidInputError(f"The fallback does not fit the output format of {prompt.name}: {problem}")
    question = _Question(prompt, inputs, by_code, [*prompt.checks, *checks], model or LanguageModel(settings), settings)
    if model is not None:
        return question.ask_model()
    try:
        answer = question.ask_once() if settings.llm_cache else question.ask_model()
    except ServiceError:
        if question.completions:
            failed = {"source": "failed", "cached": False, **question.totals()}
            _record_usage(settings, pipeline_run_id, {"prompt": prompt.name, **failed})
        raise
    came_of_it = f"source {answer.source} after {answer.attempts} attempts of {answer.model}"
    tokens = f"{answer.input_tokens} tokens read, {answer.output_tokens} written"
    logger.info("%s: %s, %s%s", prompt.name, came_of_it, tokens, " by an earlier call" if answer.cached else "")
    _record_usage(settings, pipeline_run_id, {"prompt": prompt.name, **answer.provenance()})
    return answer


@dataclass
class _Question:
    """A prompt with its inputs, what decides whether an answer is accepted, and the attempts so far."""

    prompt: Prompt
    inputs: Mapping[str, Any]
    fallback: Mapping[str, Any]
    checks: Sequence[Check]
    model: LanguageModel
    settings: Settings
    completions: list[Completion] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def max_attempts(self) -> int:
        """How often the model is asked at most: as the prompt file and the model allow."""
        return min(self.prompt.max_attempts, self.model.max_attempts or self.prompt.max_attempts)

    def ask_once(self) -> Answer:
        """Return the answer that is kept and still passes, else ask the model and keep what it answers.

        That of code is kept, too: the model was asked as often as it may be.
        """
        settings, prompt = self.settings, self.prompt
        cache = AnswerCache(settings.llm_dir / "answers", settings.llm_cache_max_bytes, settings.llm_wait_seconds)
        identity = {"prompt": prompt.name, "fingerprint": prompt.fingerprint, "model": self.model.identity}
        key = cache.key({**identity, "inputs": self.inputs})
        with cache.locked(key):
            with contextlib.suppress(ValidationError):
                kept = _KEPT_ANSWER.validate_python(cache.get(key))
                values = kept.values if kept.source == "model" else None
                if values is None:
                    is_usable = kept.attempts >= self.max_attempts
                else:
                    is_usable = prompt.refusal(values, self.inputs, self.checks) is None
                if is_usable:
                    return replace(kept, **self._accepted(values), cached=True)
            answer = self.ask_model()
            # A larger context, or a server that writes something, would answer better.
            if any(completion.text for completion in self.completions):
                with _disk_errors_logged("The answer is not kept"):
                    cache.put(key, asdict(answer))
        return answer

    def ask_model(self) -> Answer:
        """Ask until an answer is accepted, at most `max_attempts` times."""
        prompt, model = self.prompt, self.model
        values: dict[str, Any] | None = None
        context_tokens = self.settings.llm_context_tokens or math.inf
        attempts, max_tokens, largest, with_examples = 0, prompt.model.max_tokens, MAX_TOKENS, bool(prompt.examples)
        while values is None and attempts < self.max_attempts:
            refused = self.refusals[-1].reason if self.refusals else None
            messages = prompt.messages(self.inputs, with_examples, refused)
            temperature = prompt.model.retry_temperature if attempts else prompt.model.temperature
            try:
                characters = sum(len(message["content"]) for message in messages)
                if characters > (context_tokens - max_tokens) * CHARACTERS_PER_TOKEN:
                    raise RequestTooLargeError("the prompt does not fit into LLM_CONTEXT_TOKENS")
                completion = model.complete(messages, prompt.schema_, max_tokens, temperature)
            except RequestTooLargeError as error:
                if max_tokens > prompt.model.max_tokens:
                    max_tokens = largest = prompt.model.max_tokens
                elif with_examples:
                    with_examples = False
                else:
                    logger.warning("%s: %s", prompt.name, error)
                    self.refusals.append(Refusal("context", str(error)[:MAX_REASON_CHARACTERS]))
                    break
                continue
            attempts += 1
            self.completions.append(completion)
            values = None if completion.is_cut else parse_json_object(completion.text, prompt.output.format)
            if values is None:
                form = "not a whole JSON object" if completion.text.strip() else "empty"
                form = "too long and cut off" if completion.is_cut else form
                refusal: Refusal | None = Refusal("format", f"the answer was {form}")
            else:
                refusal = prompt.refusal(values, self.inputs, self.checks) or self._own_validation(values)
            if refusal is not None:
                values = None
                # The reason goes into the next prompt, the log and the output, so it is data like any input.
                refusal = replace(refusal, reason=as_data(refusal.reason)[:MAX_REASON_CHARACTERS])
                logger.info("%s: attempt %d refused by %s: %s", prompt.name, attempts, refusal.check, refusal.reason)
                self.refusals.append(refusal)
            if completion.is_cut and not has_begun_object(completion.text):
                # A model that thinks first may need many times the tokens of its answer.
                max_tokens = min(largest, 4 * max_tokens)
        name = self.completions[-1].model if self.completions else model.identity
        return Answer(
            **self._accepted(values),
            **self.totals(),
            model=name,
            prompt_version=prompt.version,
            attempts=attempts,
            refusals=self.refusals,
        )

    def totals(self) -> dict[str, Any]:
        """Return the tokens and seconds of all calls."""
        return {
            name: sum(getattr(completion, name) for completion in self.completions)
            for name in ("input_tokens", "output_tokens", "seconds")
        }

    def _own_validation(self, values: Mapping[str, Any]) -> Refusal | None:
        """Have the model judge its answer by the rule in `output.validation`; return why it is refused."""
        prompt = self.prompt
        if prompt.output.validation is None:
            return None
        rule = f"Judge an answer by this rule: {prompt.output.validation}"
        rule += " Say in one sentence why, then whether it is valid."
        asked = f"{prompt.render(prompt.prompt, self.inputs)}\n\nAnswer to judge: {as_json(values)}"
        messages = [{"role": "system", "content": rule}, {"role": "user", "content": asked}]
        completion = self.model.complete(messages, object_schema(VALIDATION_FORMAT), prompt.model.max_tokens, 0.0)
        self.completions.append(completion)
        judged = parse_json_object(completion.text, VALIDATION_FORMAT) or {}
        if judged.get("valid") is True:
            return None
        return Refusal("validation", str(judged.get("reason") or "the model did not say that its answer is valid"))

    def _accepted(self, values: dict[str, Any] | None) -> dict[str, Any]:
        """Return the fields of an `Answer` by the model, or by code where the model has none that is accepted."""
        if values is None:
            by_code = {name: ["computed"] for name in self.fallback}
            return {"values": self.fallback, "source": "facts", "checked": by_code, "unchecked": []}
        checked: dict[str, list[str]] = {}
        for check in self.checks:
            checked.setdefault(check.checked_field, []).append(check.name)
        unchecked = [name for name in self.prompt.output.format if name not in checked]
        return {"values": values, "source": "model", "checked": checked, "unchecked": unchecked}


def _record_usage(settings: Settings, pipeline_run_id: int | None, entry: Mapping[str, Any]) -> None:
    with _disk_errors_logged("The tokens are not recorded"):
        usage.record(settings.llm_dir / "usage", pipeline_run_id, entry)


@contextlib.contextmanager
def _disk_errors_logged(what: str) -> Iterator[None]:
    """An answer that was paid for is not lost because a disk is full."""
    try:
        yield
    except OSError as error:
        logger.warning("%s: %s", what, error.strerror)
