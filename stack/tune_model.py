"""Search for the survival model's parameters, and evaluate the search: `python -m stack.tune_model`."""

import argparse
import sys
from dataclasses import asdict

from rich.table import Table

from stack.console import Console
from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.evaluation import METRICS, Evaluation, evaluate
from workflows.ml_training_and_inference.training import Parameters
from workflows.ml_training_and_inference.tuning import CANDIDATES, nested_cross_validation, search_parameters
from workflows.passengers.contract import ATTRIBUTE_NAMES, TARGET
from workflows.passengers.files import load_passengers


def main(arguments: list[str] | None = None) -> int:
    """Print the metrics and the chosen parameters; return the exit code: 0 for success, 1 for an error."""
    parser = argparse.ArgumentParser(prog="python -m stack.tune_model", description=__doc__)
    parser.add_argument(
        "--candidates", type=int, default=CANDIDATES, help="number of parameter sets tried in each training part"
    )
    parser.add_argument("--repeats", type=int, default=5, help="how often the folds are drawn")
    parsed = parser.parse_args(arguments)
    console = Console()
    return console.run(lambda: _tune(parsed.candidates, parsed.repeats, console))


def _tune(candidates: int, repeats: int, console: Console) -> int:
    df = load_passengers(get_settings().passengers_source)
    with console.step("Cross-validation of the published parameters and the baselines"):
        fixed = evaluate(df, Parameters(), repeats=repeats)
    console.rich.print(_table("Published parameters", fixed))
    with console.step(f"Nested cross-validation, {candidates} candidates in each training part"):
        nested = nested_cross_validation(df, candidates, repeats=repeats)
    console.rich.print(_table("Parameters searched in each training part", nested))
    with console.step("The same search on all passengers"):
        chosen, loss = search_parameters(df.loc[:, list(ATTRIBUTE_NAMES)], df[TARGET].to_numpy(), candidates)
    console.say(f"log loss {loss:.4f}: " + ", ".join(f"{name} {value:g}" for name, value in asdict(chosen).items()))
    return 0


def _table(title: str, evaluation: Evaluation) -> Table:
    table = Table("split", "classifier", *METRICS, title=title, title_justify="left")
    for row in evaluation.table().to_dict("records"):
        figures = [f"{row[metric]:.4f} ± {row[f'{metric}_spread']:.3f}" for metric in METRICS]
        table.add_row(row["split"], row["classifier"], *figures)
    return table


if __name__ == "__main__":
    sys.exit(main())
