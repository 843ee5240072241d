"""A fun fact about a number: told by a language model, checked by arithmetic."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.checks import CodeCheck
from workflows.ai_blocks.client import LanguageModel
from workflows.common.errors import InvalidInputError
from workflows.dynamic_blocks_workflow.number_facts import claim_problem, facts_of, text_problem

# Factors are searched by trial division, at most a million steps here.
MAX_NUMBER = 10**12


def fun_fact(number: int, model: LanguageModel | None = None, pipeline_run_id: int | None = None) -> dict[str, Any]:
    """Return a fun fact about a whole number of at most 10^12.

    Args:
        number: Number that the fact is about.
        model: Model to use; by default the configured one.
        pipeline_run_id: Run to which the tokens are added.

    Returns:
        `number`, `fun_fact` (a sentence), `claims` (what it says of the number that arithmetic has checked), `fact` (a
        true statement about the number), and where the fun fact comes from, see `Answer.provenance`.

    Raises:
        InvalidInputError: not a whole number, or out of range.
        ServiceError: the model's server could not be reached, or refused.
    """
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise InvalidInputError("A fun fact needs a whole number", {"number": f"is {type(number).__name__}"})
    if not 0 <= number <= MAX_NUMBER:
        raise InvalidInputError("A fun fact needs another number", {"number": f"is not in 0 to {MAX_NUMBER}"})
    number = int(number)
    facts = facts_of(number)
    answer = ask(
        "generate_fun_fact",
        {"item": {"number": number}, "facts": facts},
        fallback={"fun_fact": facts[0], "claims": []},
        checks=checks_of(number),
        model=model,
        pipeline_run_id=pipeline_run_id,
    )
    return {"number": number, **answer.values, "fact": facts[0], **answer.provenance()}


def checks_of(number: int) -> list[CodeCheck]:
    """Return the checks by arithmetic: of the claims, and of what the text says beside them."""

    def claims(answer: Mapping[str, Any]) -> str | None:
        problems = (claim_problem(number, one["claim"], one["value"]) for one in answer["claims"])
        return next(filter(None, problems), None)

    return [
        CodeCheck("arithmetic", "claims", claims),
        CodeCheck("arithmetic", "fun_fact", lambda answer: text_problem(number, answer["fun_fact"])),
    ]
