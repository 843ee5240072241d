"""Ask a model to word computed facts, check what it says, and fall back to the facts."""

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from workflows.ai_blocks import grounding, usage
from workflows.ai_blocks.cache import AnswerCache
from workflows.ai_blocks.client import Completion, ContextTooLongError, LanguageModel, OpenAIModel, TooManyTokensError
from workflows.ai_blocks.grounding import Fact, objection
from workflows.ai_blocks.prompts import FACTS_INPUT, PROMPTS_DIR, Prompt, load_prompt
from workflows.ai_blocks.untrusted import as_data
from workflows.common.errors import InvalidInputError, ServiceError
from workflows.common.settings import Settings, get_settings

logger = logging.getLogger(__name__)

Check = Callable[[Mapping[str, Any]], str | None]

MAX_TOKENS = 8192
# A reason may quote what the model wrote.
MAX_REASON_CHARACTERS = 300
# Conservative for English, whose tokens have about four characters.
CHARACTERS_PER_TOKEN = 3
# The opening mark may stand in the chat template, so that only the closing one is written.
_THOUGHTS = re.compile(r"^.*</think>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Refusal:
    """Why an attempt was not taken.

    Attributes:
        kind: `format` where it does not fit the output format, `rule` where it breaks the prompt's validation,
            `facts` where it says what the facts do not.
        reason: In words that the model is told.
    """

    kind: Literal["format", "rule", "facts"]
    reason: str


@dataclass(frozen=True)
class Answer:
    """What a block answers, and where it comes from.

    Attributes:
        values: The fields of the prompt's output format.
        source: "model" where the model worded it, "facts" where no attempt of the model passed.
        model: The model that was asked.
        prompt_version: Version of the prompt file.
        attempts: How often the model was asked.
        input_tokens: Read in all attempts.
        output_tokens: Written in all attempts.
        seconds: Spent in the model's server, in all attempts.
        refusals: Why the attempts before this answer were refused.
        cut: What was left out of the prompt to fit the model's context, in words.
        cached: Whether it was kept from an earlier time, which is when the tokens and seconds were spent.
    """

    values: dict[str, Any]
    source: Literal["model", "facts"]
    model: str
    prompt_version: str
    attempts: int
    input_tokens: int
    output_tokens: int
    seconds: float
    refusals: tuple[Refusal, ...]
    cut: tuple[str, ...]
    cached: bool = False

    def provenance(self) -> dict[str, Any]:
        """Return the part that every block's output carries, as JSON."""
        return {
            "source": self.source,
            "model": self.model,
            "prompt_version": self.prompt_version,
            "attempts": self.attempts,
            "tokens": self.input_tokens + self.output_tokens,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "seconds": round(self.seconds, 3),
            "refusals": [asdict(refusal) for refusal in self.refusals],
            "cut": list(self.cut),
            "cached": self.cached,
        }


def _prompt(name: str) -> Prompt:
    try:
        changed_at = (PROMPTS_DIR / f"{name}.yaml").stat().st_mtime_ns
    except OSError:
        changed_at = 0
    return _loaded(name, changed_at)


@lru_cache(maxsize=64)
def _loaded(name: str, _changed_at: int) -> Prompt:
    """Read a file once, and again where it was edited."""
    return load_prompt(name)


@cache
def _rules() -> str:
    """SHA-256 of the code that judges what a text says: answers judged by other rules are asked for again."""
    return hashlib.sha256(Path(grounding.__file__).read_bytes()).hexdigest()


def ask(
    prompt: str | Prompt,
    inputs: Mapping[str, str],
    facts: Sequence[Fact] = (),
    *,
    subjects: Iterable[str] = (),
    check: Check | None = None,
    model: LanguageModel | None = None,
    run: object = None,
) -> Answer:
    """Ask until an answer fits the format, keeps the rules and keeps to the facts, else answer with the facts.

    The same prompt, inputs, facts and model are asked once: the answer is kept (`LLM_CACHE`), and is checked
    again whenever it is used.

    Args:
        prompt: Name of the prompt file.
        inputs: Text for each input of the prompt; `facts` is made from the facts where it is not given.
        facts: What the grounded fields may say, the most important first.
        subjects: Numbers that are talked about, which grounded fields may name at any place.
        check: Says what else an answer gets wrong, None if nothing.
        model: Whom to ask; by default the configured one. Answers of a given one are not kept.
        run: Id of the pipeline run (`kwargs.get("pipeline_run_id")`), to which the tokens are booked.

    Raises:
        InvalidInputError: the prompt file is wrong, or takes other inputs.
        ServiceError: the model's server could not be reached, or refused.
    """
    settings = get_settings()
    question = _Question(_prompt(prompt) if isinstance(prompt, str) else prompt, inputs, facts, subjects, check)
    spent: list[Completion] = []
    if model is not None:
        return _asked(question, model, settings.llm_context_tokens, spent)
    try:
        answer = _kept_or_asked(question, settings, spent)
    except ServiceError:
        if spent:
            failed = {"source": "failed", "cached": False, **_sums(spent)}
            _book(settings, run, {"prompt": question.prompt.name, **failed})
        raise
    logger.info("%s: %s", question.prompt.name, _in_words(answer))
    _book(settings, run, {"prompt": question.prompt.name, **answer.provenance()})
    return answer


def _kept_or_asked(question: "_Question", settings: Settings, spent: list[Completion]) -> Answer:
    model = OpenAIModel(settings)
    if not settings.llm_cache:
        return _asked(question, model, settings.llm_context_tokens, spent)
    kept = AnswerCache(settings.llm_dir / "answers", settings.llm_cache_max_bytes, settings.llm_wait_seconds)
    key = kept.key({**question.identity(), "model": model.identity})
    with kept.asking(key):
        answer = question.kept_answer(kept.get(key))
        if answer is None:
            answer = _asked(question, model, settings.llm_context_tokens, spent)
            # A larger context, or a server that writes something, would answer better.
            if not answer.cut and not (answer.source == "facts" and all(not completion.text for completion in spent)):
                with _not_fatal("The answer is not kept"):
                    kept.put(key, asdict(answer))
    return answer


def _book(settings: Settings, run: object, entry: Mapping[str, Any]) -> None:
    """Add an answer to the tokens of its run, and log the sums."""
    with _not_fatal("The tokens are not booked"):
        sums = usage.record(settings.llm_dir / "usage", run, entry)
        logger.info(
            "So far in this run: %d answers, %d of the model, %d tokens read, %d written, %.1f s",
            sums.answers,
            sums.from_model,
            sums.input_tokens,
            sums.output_tokens,
            sums.seconds,
        )


@contextlib.contextmanager
def _not_fatal(what: str) -> Iterator[None]:
    """An answer that was paid for is not lost because a disk is full."""
    try:
        yield
    except OSError as error:
        logger.warning("%s: %s", what, error.strerror)


def parse_json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a model's text, which may stand in a code fence or after thoughts; None if none."""
    text = _THOUGHTS.sub("", text)
    if "<think>" in text:
        return None
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        value = json.loads(text[start : end + 1], parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # Also brackets without end and numbers of thousands of digits, as a model writes that repeats itself.
        return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class _Question:
    """One question: the prompt with its inputs, and all that decides whether an answer is taken."""

    def __init__(
        self,
        prompt: Prompt,
        inputs: Mapping[str, str],
        facts: Sequence[Fact],
        subjects: Iterable[str],
        check: Check | None,
    ):
        self.prompt = prompt
        self.inputs = {name: as_data(text) for name, text in inputs.items()}
        if FACTS_INPUT in prompt.inputs:
            self.inputs.setdefault(FACTS_INPUT, "\n".join(f"- {fact.text}" for fact in facts))
        if prompt.validation.grounded and not facts:
            raise InvalidInputError(f"The prompt {prompt.name} needs facts: fields of its answer are grounded in them")
        # Says which input is wrong before anything is looked up or asked.
        prompt.messages(self.inputs)
        self._facts = facts
        self._subjects = frozenset(subjects)
        self._check = check
        self.facts_answer = self._made_from_facts()

    def identity(self) -> dict[str, Any]:
        """Return what makes this question the same as another, the model aside."""
        return {
            "prompt": self.prompt.name,
            "fingerprint": self.prompt.fingerprint,
            "inputs": self.inputs,
            "facts": [fact.text for fact in self._facts],
            "rules": _rules(),
        }

    def _made_from_facts(self) -> dict[str, Any]:
        """Return the answer made from the facts alone: as many of them, the first ones, as the format has room for."""
        rules, misfit = self.prompt.validation, None
        for number in range(len(self._facts), 0, -1) if rules.grounded else [0]:
            text = " ".join(fact.text for fact in self._facts[:number])
            values = {**rules.otherwise, **{field: self.inputs[name] for field, name in rules.equals.items()}}
            values |= dict.fromkeys(rules.grounded, text)
            misfit = self.prompt.misfit(values)
            if misfit is None:
                return {field: values[field] for field in self.prompt.output.format}
        raise InvalidInputError(
            f"The answer from the facts does not fit the output format of {self.prompt.name}: {misfit}"
        )

    def judge(self, values: Mapping[str, Any]) -> Refusal | None:
        """Say why an answer is not taken, None where it is."""
        prompt = self.prompt
        if (reason := prompt.misfit(values)) is not None:
            return Refusal("format", reason)
        if (reason := prompt.broken_rule(values, self.inputs)) is not None:
            return Refusal("rule", reason)
        for field in prompt.validation.grounded:
            if (reason := objection(str(values[field]), self._facts, self._subjects)) is not None:
                return Refusal("facts", reason)
        reason = self._check(values) if self._check is not None else None
        return Refusal("facts", reason) if reason is not None else None

    def kept_answer(self, kept: Mapping[str, Any] | None) -> Answer | None:
        """Return an answer that was kept, None where it does not pass (any more)."""
        if kept is None:
            return None
        try:
            refusals = tuple(Refusal(**refusal) for refusal in kept["refusals"])
            answer = Answer(**{**kept, "refusals": refusals, "cut": tuple(kept["cut"]), "cached": True})
        except (KeyError, TypeError):
            return None
        if answer.source == "facts":
            return Answer(**{**vars(answer), "values": self.facts_answer})
        return answer if isinstance(answer.values, dict) and self.judge(answer.values) is None else None

    def shortened(self, step: int) -> tuple[list[dict[str, str]], tuple[str, ...]]:
        """Return the conversation, shortened a number of times, and what was left out of it.

        The rule: first the examples go; then, each time, the later half of the lines of every input in
        `may_be_cut`, and of a single line the later half of its words.

        Raises:
            ValueError: nothing more may be left out.
        """
        prompt = self.prompt
        has_examples = bool(prompt.examples)
        if step == 0:
            return prompt.messages(self.inputs), ()
        halvings = step - 1 if has_examples else step
        inputs = self._shortened_inputs(halvings)
        if halvings and inputs == self._shortened_inputs(halvings - 1):
            raise ValueError("nothing more may be left out")
        cut = ["the examples"] if has_examples else []
        cut += [
            f"{name}: {len(inputs[name])} of {len(text)} characters kept"
            for name, text in self.inputs.items()
            if inputs[name] != text
        ]
        return prompt.messages(inputs, with_examples=False), tuple(cut)

    def _shortened_inputs(self, halvings: int) -> dict[str, str]:
        may_be_cut = self.prompt.may_be_cut
        return {n: _first_part(text, halvings) if n in may_be_cut else text for n, text in self.inputs.items()}


def _asked(question: _Question, model: LanguageModel, context_tokens: int | None, spent: list[Completion]) -> Answer:
    """Ask the model; see `ask`. What it answers, good or not, is added to `spent`."""
    prompt = question.prompt
    refusals: list[Refusal] = []
    values: dict[str, Any] | None = None
    max_tokens, most_tokens = prompt.model.max_tokens, MAX_TOKENS
    step = _first_step(question, context_tokens)
    tells_reason = True
    while values is None and len(spent) < prompt.validation.max_attempts:
        conversation, _ = question.shortened(step)
        if refusals and tells_reason:
            conversation = _with_refusal(conversation, refusals[-1].reason)
        temperature = prompt.model.retry_temperature if spent else prompt.model.temperature
        try:
            completion = model.complete(conversation, prompt.schema_, max_tokens, temperature)
        except (ContextTooLongError, TooManyTokensError) as error:
            if max_tokens > prompt.model.max_tokens:
                # There is no room for more than the prompt file asks for.
                max_tokens = most_tokens = prompt.model.max_tokens
            elif isinstance(error, TooManyTokensError):
                raise
            elif refusals and tells_reason:
                tells_reason = False
            elif _can_be_shortened(question, step):
                step += 1
            else:
                raise
            continue
        spent.append(completion)
        values, refusal = _read(question, completion)
        if refusal is not None:
            logger.info("%s: attempt %d refused: %s", prompt.name, len(spent), refusal.reason)
            refusals.append(refusal)
        if completion.is_cut:
            # A model that thinks first may need many times what its answer takes.
            max_tokens = min(most_tokens, 4 * max_tokens)
    cut = question.shortened(step)[1]
    if cut:
        logger.warning("%s: the prompt was too long for the model and was cut: %s", prompt.name, "; ".join(cut))
    return Answer(
        values=question.facts_answer if values is None else values,
        source="facts" if values is None else "model",
        model=spent[-1].model,
        prompt_version=prompt.version,
        attempts=len(spent),
        **_sums(spent),
        refusals=tuple(refusals),
        cut=cut,
    )


def _sums(spent: Sequence[Completion]) -> dict[str, Any]:
    return {
        "input_tokens": sum(completion.input_tokens for completion in spent),
        "output_tokens": sum(completion.output_tokens for completion in spent),
        "seconds": sum(completion.seconds for completion in spent),
    }


def _first_step(question: _Question, context_tokens: int | None) -> int:
    """Return how often the conversation is shortened ahead to fit, as far as it may be."""
    step = 0
    if context_tokens is None:
        return step
    characters = (context_tokens - question.prompt.model.max_tokens) * CHARACTERS_PER_TOKEN
    while sum(len(message["content"]) for message in question.shortened(step)[0]) > characters:
        if not _can_be_shortened(question, step):
            break
        step += 1
    return step


def _can_be_shortened(question: _Question, step: int) -> bool:
    try:
        question.shortened(step + 1)
    except ValueError:
        return False
    return True


def _first_part(text: str, halvings: int) -> str:
    """Keep the first half of the lines, of a single line the first half of the words, a number of times."""
    for _ in range(halvings):
        separator = "\n" if "\n" in text else " "
        parts = text.split(separator)
        text = separator.join(parts[: max(1, len(parts) // 2)])
    return text


def _read(question: _Question, completion: Completion) -> tuple[dict[str, Any] | None, Refusal | None]:
    """Return the answer's fields, or None and why it is refused."""
    values = parse_json_object(completion.text)
    if values is None:
        reason = "not one whole JSON object" if completion.text.strip() else "empty"
        return None, Refusal("format", "the answer was " + ("too long and broke off" if completion.is_cut else reason))
    refusal = question.judge(values)
    if refusal is None:
        return values, None
    # It goes into the next question, the log and the output, so it is data like any input.
    return None, Refusal(refusal.kind, as_data(refusal.reason)[:MAX_REASON_CHARACTERS])


def _with_refusal(conversation: list[dict[str, str]], reason: str) -> list[dict[str, str]]:
    """Return the conversation with the reason for the refusal added to the question.

    The refused answer itself is left out: small models repeat what they see.
    """
    *before, question = conversation
    return [*before, question | {"content": f"{question['content']}\n(An earlier answer was refused: {reason}.)"}]


def _in_words(answer: Answer) -> str:
    if answer.cached:
        return f"answered from the {answer.source}, as {answer.model} did before"
    tokens = f"{answer.input_tokens} tokens read, {answer.output_tokens} written"
    return f"answered from the {answer.source} after {answer.attempts} attempts of {answer.model}, {tokens}"
