"""Ask a model all questions, and score what it answers."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.cases import Case
from workflows.ai_blocks.client import LanguageModel
from workflows.ai_blocks.completions import Completion
from workflows.ai_blocks.prompts import Message
from workflows.common.errors import ServiceError

# A model that fails this often is not asked further: each failure may have taken the whole time limit.
MAX_FAILURES = 5


@dataclass(frozen=True)
class Outcome:
    """Result of a question.

    Attributes:
        case: The question.
        texts: What the model wrote, attempt by attempt.
        output: The block's output; None where the model's server failed.
        error: Why it failed.
        right: How much of the output is right, and of how much; None where there is nothing to compare with.
    """

    case: Case
    texts: tuple[str, ...]
    output: Mapping[str, Any] | None = None
    error: str | None = None
    right: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        case = {"prompt": self.case.prompt, "half": self.case.half, "question": self.case.question}
        return case | {"texts": self.texts, "output": self.output, "error": self.error, "right": self.right}


@dataclass(frozen=True)
class Score:
    """How well a model did in some questions of one prompt.

    Attributes:
        asked: Questions.
        answered: Those at which the model's server did not fail.
        valid: Answers whose first attempt fitted the output format.
        accepted: Answers whose first attempt passed every check.
        refused_by: Number of refused attempts by check.
        from_model: Answers of the model; the others were made from the facts.
        right: How much of the answers is right, and of how much.
        attempts: Mean number of attempts of an answer.
        input_tokens: Mean of an answer, all attempts together.
        output_tokens: Mean of an answer, all attempts together.
        median_seconds: Time in the model's server for an answer, all attempts together.
        p95_seconds: Its 95th percentile, interpolated.
    """

    asked: int
    answered: int
    valid: int
    accepted: int
    refused_by: Mapping[str, int]
    from_model: int
    right: tuple[int, int]
    attempts: float
    input_tokens: float
    output_tokens: float
    median_seconds: float
    p95_seconds: float


class _RecordingModel:
    """Passes calls on to a model, and keeps what it writes."""

    def __init__(self, model: LanguageModel):
        self._model = model
        self.texts: list[str] = []

    @property
    def identity(self) -> str:
        return self._model.identity

    @property
    def max_attempts(self) -> int | None:
        return self._model.max_attempts

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        completion = self._model.complete(messages, schema, max_tokens, temperature)
        self.texts.append(completion.text)
        return completion


def evaluate(cases: Sequence[Case], model: LanguageModel, at_once: int) -> Iterator[Outcome]:
    """Ask all questions, some at the same time; outcomes come in the order of the questions.

    A model that fails several times is not asked the remaining ones.

    Args:
        cases: The first one is asked alone, since others may need what it makes.
        model: Model to use.
        at_once: Questions at the same time.

    Raises:
        ServiceError: the model failed at the first question.
    """
    first, *others = cases
    outcome = _ask(first, model)
    if outcome.error is not None:
        raise ServiceError(outcome.error)
    yield outcome
    failures: list[str] = []

    def ask(case: Case) -> Outcome | None:
        if len(failures) >= MAX_FAILURES:
            return None
        outcome = _ask(case, model)
        if outcome.error is not None:
            failures.append(outcome.error)
        return outcome

    with ThreadPoolExecutor(at_once) as pool:
        yield from (outcome for outcome in pool.map(ask, others) if outcome is not None)


def score(outcomes: Sequence[Outcome]) -> Score:
    """Score outcomes of one prompt; means and seconds are NaN where nothing was answered."""
    outputs = [outcome.output for outcome in outcomes if outcome.output is not None]
    first_refusals = [output["refusals"][0]["check"] if output["refusals"] else None for output in outputs]
    right = [outcome.right for outcome in outcomes if outcome.right is not None]
    seconds = [float(output["seconds"]) for output in outputs] or [float("nan")]
    return Score(
        asked=len(outcomes),
        answered=len(outputs),
        valid=sum(check != "format" for check in first_refusals),
        accepted=sum(check is None for check in first_refusals),
        refused_by=Counter(refusal["check"] for output in outputs for refusal in output["refusals"]),
        from_model=sum(output["source"] == "model" for output in outputs),
        right=(sum(one for one, _ in right), sum(whole for _, whole in right)),
        attempts=_mean(outputs, "attempts"),
        input_tokens=_mean(outputs, "input_tokens"),
        output_tokens=_mean(outputs, "output_tokens"),
        median_seconds=float(np.quantile(seconds, 0.5)),
        p95_seconds=float(np.quantile(seconds, 0.95)),
    )


def _mean(outputs: Sequence[Mapping[str, Any]], name: str) -> float:
    return statistics.fmean(output[name] for output in outputs) if outputs else float("nan")


def _ask(case: Case, model: LanguageModel) -> Outcome:
    recording = _RecordingModel(model)
    try:
        output = case.ask(recording)
    except ServiceError as error:
        return Outcome(case, tuple(recording.texts), error=str(error))
    return Outcome(case, tuple(recording.texts), output, right=case.count_right and case.count_right(output))
