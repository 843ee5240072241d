"""How well language models do in the AI blocks: fixed questions, a table for each prompt.

Run as `python -m evals [--compare MODEL ...] [--prompts PROMPT ...]`. Half of the questions was looked at while prompts
and checks were written (`seen.yaml`), half was not (`held_out.yaml`). Answers are neither taken from the cache nor
kept. Columns:

    asked              questions
    schema-valid       first attempts that fitted the output format
    accepted           first attempts that passed every check
    model / facts      answers by their `source`: of the model, or made from the facts
    right              attributes read as the bios state them; explanations that name a change that turns the outcome
    attempts, tokens   mean of an answer, all attempts together
    p50, p95           seconds of an answer in the model's server, all attempts together
    refused by         refused attempts by check

The survival model is fitted on the bundled passengers, whatever is configured. Exits with 1 if a model failed.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from evals.cases import HALVES, PROMPTS, Case, all_cases, survival_model
from evals.evaluation import Outcome, Score, evaluate, score
from stack.console import Console
from workflows.ai_blocks.client import LanguageModel, model_name
from workflows.common.errors import ServiceError
from workflows.common.files import write_text_atomically
from workflows.common.local_services import stop_services
from workflows.common.settings import Settings, get_settings
from workflows.local_llm.model import local_model_path
from workflows.passengers.files import load_passengers

LOCAL = "local"
HEADER = (
    *("model", "half", "asked", "schema-valid", "accepted", "model / facts", "right", "attempts", "tokens in"),
    *("tokens out", "p50 s", "p95 s", "refused by"),
)
OUTCOMES_BETWEEN_LINES = 20


@dataclass
class Result:
    """What one model answered, and why it was not asked (further)."""

    name: str
    outcomes: list[Outcome] = field(default_factory=list)
    error: str | None = None

    @property
    def failures(self) -> list[str]:
        """Every reason for which a question has no answer."""
        return [*([self.error] if self.error else []), *(one.error for one in self.outcomes if one.error)]


@contextmanager
def settings_of(model: str | None) -> Iterator[Settings]:
    """Yield the settings of a model: None is the configured one; see the help of `--compare`.

    Raises:
        ServiceError: the bundled model is not installed.
    """
    settings = get_settings()
    if model == LOCAL:
        path = local_model_path(settings.model_copy(update={"local_model_path": None}))
    elif model is not None and model.endswith(".gguf"):
        path = Path(model).absolute()
    else:
        yield settings.model_copy(update={"llm_model": model}) if model else settings
        return
    # There is one local server per state folder.
    with (
        tempfile.TemporaryDirectory() as state,
        patch.dict(os.environ, {"STATE_DIR": state, "LOCAL_MODEL_PATH": str(path)}),
    ):
        others = ("openai_api_key", "openai_base_url", "openai_api_version", "llm_model", "llm_extra_parameters")
        try:
            yield get_settings().model_copy(update=dict.fromkeys(others))
        finally:
            stop_services()


def measure(model: str | None, cases: Sequence[Case], console: Console) -> Result:
    """Ask one model all questions."""
    result = Result(model or model_name(get_settings()))
    try:
        with settings_of(model) as settings:
            for outcome in evaluate(cases, LanguageModel(settings), settings.max_llm_calls_at_once):
                result.outcomes.append(outcome)
                if len(result.outcomes) % OUTCOMES_BETWEEN_LINES == 0:
                    console.say(f"  {len(result.outcomes)} of {len(cases)} answered")
    except ServiceError as error:
        result.error = str(error)
    return result


def table(prompt: str, results: Sequence[Result]) -> list[str]:
    """Return the Markdown lines of a prompt's table: a row per model and half."""
    rows = [list(HEADER), ["---"] * len(HEADER)]
    for result in results:
        for half in HALVES:
            outcomes = [one for one in result.outcomes if (one.case.prompt, one.case.half) == (prompt, half)]
            if any(one.output is not None for one in outcomes):
                rows.append([result.name, half, *_cells(score(outcomes))])
            else:
                reason = next(iter(result.failures), "").replace("|", "\\|")
                rows.append([result.name, half, f"not answered: {reason}", *[""] * (len(HEADER) - 3)])
    return [f"| {' | '.join(row)} |" for row in rows]


def facts_only(result: Result) -> Iterator[str]:
    """Say of every answer that was made from the facts why the model's last attempt was refused."""
    for outcome in result.outcomes:
        if outcome.output is not None and outcome.output["source"] == "facts":
            last, case = outcome.output["refusals"][-1], outcome.case
            question = json.dumps(case.question, ensure_ascii=False, default=str)
            yield f"{result.name}, {case.prompt}, {case.half}, {question[:60]}: {last['check']}: {last['reason']}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the models, print the tables, and return 1 if a model failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="MODEL",
        help="these instead of the configured one: names at the configured server, `local` for the bundled model, "
        "or files that end in .gguf for the local server",
    )
    parser.add_argument(
        "--prompts", nargs="+", choices=PROMPTS, default=PROMPTS, metavar="PROMPT", help="these prompts only"
    )
    parser.add_argument("--verbose", action="store_true", help="list answers made from the facts, with the reason")
    parser.add_argument("--output", type=Path, metavar="FILE", help="save all answers as JSON")
    options = parser.parse_args(arguments)

    console = Console()
    passengers = load_passengers(str(get_settings().data_dir / "titanic.csv"))
    version = survival_model(passengers)
    results = []
    for model in dict.fromkeys(options.compare or [None]):
        with tempfile.TemporaryDirectory() as frameworks:
            # The first question makes the framework, which other prompts need.
            first, *others = all_cases(passengers, version, Path(frameworks))
            cases = [first, *(case for case in others if case.prompt in options.prompts)]
            with console.step(f"{model or 'the configured model'}: {len(cases)} questions"):
                results.append(measure(model, cases, console))
    for prompt in options.prompts:
        console.heading(prompt)
        for line in table(prompt, results):
            console.say(line)
    console.say()
    for result in results:
        for line in (
            *(f"{result.name}: {one}" for one in result.failures),
            *(facts_only(result) if options.verbose else ()),
        ):
            console.say(line)
    if options.output:
        saved = [{"model": r.name, "error": r.error, "answers": [one.to_dict() for one in r.outcomes]} for r in results]
        write_text_atomically(options.output, json.dumps(saved, ensure_ascii=False, indent=1, default=str))
    return int(any(result.failures for result in results))


def _cells(score: Score) -> list[str]:
    failed = score.asked - score.answered
    return [
        f"{score.asked}, {failed} failed" if failed else str(score.asked),
        f"{score.valid} of {score.answered}",
        f"{score.accepted} of {score.answered}",
        f"{score.from_model} / {score.answered - score.from_model}",
        f"{score.right[0]} of {score.right[1]}" if score.right[1] else "",
        f"{score.attempts:.1f}",
        f"{score.input_tokens:.0f}",
        f"{score.output_tokens:.0f}",
        f"{score.median_seconds:.1f}",
        f"{score.p95_seconds:.1f}",
        ", ".join(f"{check} {count}" for check, count in sorted(score.refused_by.items())),
    ]


if __name__ == "__main__":
    sys.exit(main())
