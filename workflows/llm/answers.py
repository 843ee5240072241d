"""Ask a model to word computed facts, check what it says, and fall back to the facts."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workflows.llm.client import Completion, LanguageModel
from workflows.llm.prompts import Prompt

logger = logging.getLogger(__name__)

Check = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Answer:
    """What a block answers, and where it comes from.

    Attributes:
        values: The fields of the prompt's output format.
        source: "model" where the model worded it, "facts" where no attempt of the model passed.
        model: The model that was asked.
        prompt_version: Version of the prompt file.
        attempts: How often the model was asked.
        tokens: Read and written in all attempts.
        seconds: Spent in the model's server, in all attempts.
        refusals: Why the attempts before this answer were refused.
    """

    values: dict[str, Any]
    source: Literal["model", "facts"]
    model: str
    prompt_version: str
    attempts: int
    tokens: int
    seconds: float
    refusals: tuple[str, ...]

    def provenance(self) -> dict[str, Any]:
        """Return the part that every block's output carries, as JSON."""
        return {
            "source": self.source,
            "model": self.model,
            "prompt_version": self.prompt_version,
            "attempts": self.attempts,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "refusals": list(self.refusals),
        }


def ask(
    prompt: Prompt,
    inputs: Mapping[str, str],
    facts_answer: Mapping[str, Any],
    check: Check,
    model: LanguageModel,
) -> Answer:
    """Ask until an answer fits the format, keeps the rules and passes the check, else answer with the facts.

    Args:
        prompt: The block's prompt file.
        inputs: Text for each input of the prompt.
        facts_answer: The answer made from the facts alone, in the prompt's output format.
        check: Says what an answer (that fits the format) gets wrong, None if nothing.
        model: Whom to ask.

    Raises:
        ServiceError: the model's server could not be reached, or refused.
    """
    conversation = prompt.messages(inputs)
    refusals: list[str] = []
    spent: list[Completion] = []
    values: dict[str, Any] | None = None
    while values is None and len(spent) < prompt.validation.max_attempts:
        settings = prompt.model
        completion = model.complete(
            conversation,
            prompt.schema_,
            settings.max_tokens,
            settings.retry_temperature if spent else settings.temperature,
        )
        spent.append(completion)
        values, reason = _judge(prompt, inputs, check, completion.text)
        if reason is not None:
            logger.info("%s: attempt %d refused: %s", prompt.name, len(spent), reason)
            refusals.append(reason)
            conversation = _with_refusal(prompt.messages(inputs), reason)
    answer = Answer(
        values=dict(facts_answer) if values is None else values,
        source="facts" if values is None else "model",
        model=spent[-1].model,
        prompt_version=prompt.version,
        attempts=len(spent),
        tokens=sum(completion.tokens for completion in spent),
        seconds=sum(completion.seconds for completion in spent),
        refusals=tuple(refusals),
    )
    logger.info(
        "%s: answered from the %s after %d attempts, %d tokens, %.1f s of %s",
        prompt.name,
        answer.source,
        answer.attempts,
        answer.tokens,
        answer.seconds,
        answer.model,
    )
    return answer


def parse_json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a model's text, which may stand in a code fence; None if there is none."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        value = json.loads(text[start : end + 1])
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _judge(
    prompt: Prompt, inputs: Mapping[str, str], check: Check, text: str
) -> tuple[dict[str, Any] | None, str | None]:
    """Return the answer's fields, or None and the reason why it is refused."""
    if not text.strip():
        return None, "the answer was empty"
    values = parse_json_object(text)
    if values is None:
        return None, "the answer was not one whole JSON object"
    reason = prompt.misfit(values) or prompt.broken_rule(values, inputs) or check(values)
    return (None, reason) if reason is not None else (values, None)


def _with_refusal(conversation: list[dict[str, str]], reason: str) -> list[dict[str, str]]:
    """Return the conversation with the reason for the refusal added to the question.

    The refused answer itself is left out: small models repeat what they see.
    """
    *before, question = conversation
    return [*before, question | {"content": f"{question['content']}\n(An earlier answer was refused: {reason}.)"}]
