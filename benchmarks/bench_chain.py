"""Measure the chain, from the start of SQL + Python to the end of the last pipeline.

Run as `python -m benchmarks.bench_chain`. Each stack starts with an empty state folder. The schedule starts the first
run of the chain, which waits for the first ingestion and refreshes the data product. In the other runs the data product
is fresh. There are two stacks: one with the configured language model (by default the bundled one), and one with a
server that answers every request at once, which shows the time without the language model.
"""

import argparse
import os
import statistics
import tempfile
from unittest.mock import patch

from rich.table import Table

from benchmarks.servers import instant_model
from stack.console import Console
from stack.demo import GRAPH, follow, start_or_join
from stack.launch import running_stack
from stack.mage_database import PipelineRun
from workflows.common.processes import free_port
from workflows.common.settings import get_settings


def seconds_of(runs: list[PipelineRun]) -> float:
    """Return the time from the creation of the first run to the end of the last."""
    if any(run.status != "completed" for run in runs):
        raise SystemExit(f"Not completed: {[(run.pipeline, run.id, run.status) for run in runs]}")
    ends = [run.completed_at for run in runs if run.completed_at]
    return (max(ends) - min(run.created_at for run in runs)).total_seconds()


def measure(variables: dict[str, str], repeats: int, console: Console) -> list[float]:
    """Start a stack and return the seconds of each run of the chain; only the first refreshes the data product."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, variables | {"STATE_DIR": folder, "LLM_CACHE": "0"}),
    ):
        settings = get_settings().model_copy(update={"port": free_port()})
        with running_stack(settings, console) as stack:
            # The chain starts with the last scheduled pipeline, which waits for the others.
            for pipeline in GRAPH.scheduled:
                runs = follow(stack.database, start_or_join(stack, console, pipeline), console)
            times = [seconds_of(runs)]
            for _ in range(repeats):
                times.append(seconds_of(follow(stack.database, stack.start_run(pipeline), console)))
            return times


def main() -> None:
    """Measure both stacks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    console = Console()
    table = Table("language model", "data product", "runs", "median s", "fastest s", "slowest s")
    with instant_model() as instant:
        for name, variables in (("answers at once", instant), ("configured", {})):
            stale, *fresh = measure(variables, repeats, console)
            for state, times in (("stale, first run", [stale]), ("fresh", fresh)):
                table.add_row(
                    name,
                    state,
                    str(len(times)),
                    f"{statistics.median(times):.1f}",
                    f"{min(times):.1f}",
                    f"{max(times):.1f}",
                )
    console.rich.print(table)


if __name__ == "__main__":
    main()
