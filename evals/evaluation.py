"""Ask a model all questions, and score what it answers."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.cases import Case
from workflows.ai_blocks.client import Completion, LanguageModel, Message
from workflows.common.errors import ServiceError

# A model that fails as often is not asked further: each failure may have taken the whole time limit.
MAX_FAILURES = 5


@dataclass(frozen=True)
class Outcome:
    """What became of a question.

    Attributes:
        case: The question.
        texts: What the model wrote, attempt by attempt.
        answer: The block's output; None where the model's server failed.
        error: Why it failed.
        agrees: Whether the answer agrees with the survival model; None where that makes no sense.
    """

    case: Case
    texts: tuple[str, ...]
    answer: Mapping[str, Any] | None = None
    error: str | None = None
    agrees: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        case = {"block": self.case.block, "half": self.case.half, "asked": self.case.asked}
        return case | {"texts": self.texts, "answer": self.answer, "error": self.error, "agrees": self.agrees}


@dataclass(frozen=True)
class Score:
    """How a model did in some questions to one block. Counts, but for the last five.

    Attributes:
        asked: Questions.
        answered: Those at which the model's server did not fail.
        valid: Answers whose first attempt fitted the output format.
        grounded: Of these, the ones whose first attempt broke no rule and said nothing beyond the facts.
        from_model: Answers that the model worded; the others were made from the facts.
        compared: Answers of a kind that can agree with the survival model.
        agreed: Those that do.
        attempts: Mean number of an answer.
        input_tokens: Mean of an answer, all attempts together.
        output_tokens: Likewise.
        median_seconds: Time in the model's server for an answer, all attempts together.
        p95_seconds: Its 95th percentile, interpolated.
    """

    asked: int
    answered: int
    valid: int
    grounded: int
    from_model: int
    compared: int
    agreed: int
    attempts: float
    input_tokens: float
    output_tokens: float
    median_seconds: float
    p95_seconds: float


class _Recorded:
    """Passes on to a model, and keeps what it writes."""

    def __init__(self, model: LanguageModel):
        self._model = model
        self.texts: list[str] = []

    @property
    def identity(self) -> str:
        return self._model.identity

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        completion = self._model.complete(messages, schema, max_tokens, temperature)
        self.texts.append(completion.text)
        return completion


def evaluate(cases: Sequence[Case], model: LanguageModel, at_once: int) -> Iterator[Outcome]:
    """Ask all questions, some at once; outcomes come in the order of the questions.

    A model that fails several times is not asked the remaining ones.

    Args:
        cases: The first one is asked alone, since others may need what it makes.
        model: Whom to ask.
        at_once: Questions under way at a time.

    Raises:
        ServiceError: the model failed at the first question.
    """
    first, *others = cases
    outcome = _outcome(first, model)
    if outcome.error is not None:
        raise ServiceError(outcome.error)
    yield outcome
    failures: list[str] = []

    def asked(case: Case) -> Outcome | None:
        if len(failures) >= MAX_FAILURES:
            return None
        outcome = _outcome(case, model)
        if outcome.error is not None:
            failures.append(outcome.error)
        return outcome

    with ThreadPoolExecutor(at_once) as pool:
        yield from (outcome for outcome in pool.map(asked, others) if outcome is not None)


def score(outcomes: Sequence[Outcome]) -> Score:
    """Score outcomes of one block; means and seconds are NaN where nothing was answered."""
    answers = [outcome.answer for outcome in outcomes if outcome.answer is not None]
    refused_first = [answer["refusals"][0]["kind"] if answer["refusals"] else None for answer in answers]
    compared = [outcome.agrees for outcome in outcomes if outcome.agrees is not None]
    seconds = [float(answer["seconds"]) for answer in answers]
    return Score(
        asked=len(outcomes),
        answered=len(answers),
        valid=sum(kind != "format" for kind in refused_first),
        grounded=sum(kind is None for kind in refused_first),
        from_model=sum(answer["source"] == "model" for answer in answers),
        compared=len(compared),
        agreed=sum(compared),
        attempts=_mean(answers, "attempts"),
        input_tokens=_mean(answers, "input_tokens"),
        output_tokens=_mean(answers, "output_tokens"),
        median_seconds=float(np.quantile(seconds, 0.5)) if seconds else float("nan"),
        p95_seconds=float(np.quantile(seconds, 0.95)) if seconds else float("nan"),
    )


def _mean(answers: Sequence[Mapping[str, Any]], name: str) -> float:
    return statistics.fmean(answer[name] for answer in answers) if answers else float("nan")


def _outcome(case: Case, model: LanguageModel) -> Outcome:
    recorded = _Recorded(model)
    try:
        answer = case.ask(recorded)
    except ServiceError as error:
        return Outcome(case, tuple(recorded.texts), error=str(error))
    agrees = case.agrees(answer) if case.agrees is not None else None
    return Outcome(case, tuple(recorded.texts), answer, agrees=agrees)
