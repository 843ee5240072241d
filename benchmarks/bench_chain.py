"""Measure the chain, from the start of SQL + Python to the end of the last pipeline, and the starts of the stack.

Run as `python -m benchmarks.bench_chain`. Each stack starts with an empty state folder. The schedule starts the first
run of the chain, which waits for the first ingestion and refreshes the data product. In the other runs the data product
is fresh. There are two stacks: one with the configured language model (by default the bundled one), and one with a
server that answers every request at once, which shows the time without the language model. `make up` starts on the
state folder of the latter; the start ends when it says where it serves. `make demo ONCE=1` has an empty state folder
and the configured model; in both, what `make setup` does is left out.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from benchmarks.servers import instant_model
from benchmarks.tables import markdown_table, show, spread
from stack.console import Console
from stack.demo import ACCESS_FILE, GRAPH, follow, start_or_join
from stack.launch import running_stack
from stack.mage_client import wait_until
from stack.mage_database import PipelineRun
from workflows.common.processes import free_port
from workflows.common.settings import REPO_PATH, get_settings


def seconds_of(runs: list[PipelineRun], asked_at: datetime | None = None) -> float:
    """Return the time from the moment when they were asked for to the end of the last run.

    Without that moment, it is the creation of the first run, which Mage's database has as a whole second.
    """
    if any(run.status != "completed" for run in runs):
        raise SystemExit(f"Not completed: {[(run.pipeline, run.id, run.status) for run in runs]}")
    ends = [run.completed_at for run in runs if run.completed_at]
    return (max(ends) - (asked_at or min(run.created_at for run in runs))).total_seconds()


def measure_chain(repeats: int, console: Console) -> list[float]:
    """Start a stack and return the seconds of each run of the chain; only the first refreshes the data product."""
    with running_stack(get_settings().model_copy(update={"port": free_port()}), console) as stack:
        # The chain starts with the last scheduled pipeline, which waits for the others.
        for pipeline in GRAPH.scheduled:
            runs = follow(stack.database, start_or_join(stack, console, pipeline), console)
        times = [seconds_of(runs)]
        for _ in range(repeats):
            asked_at = datetime.now(UTC)
            times.append(seconds_of(follow(stack.database, stack.start_run(pipeline), console), asked_at))
        return times


def measure_start(state: Path) -> float:
    """Return the seconds from `make up` to the moment when it has said where it serves."""
    said = state / ACCESS_FILE
    said.unlink(missing_ok=True)
    started = time.monotonic()
    with _stack_command("up") as process:
        try:
            wait_until(lambda: said.exists() or process.poll() is not None, 300, poll_seconds=0.05)
            seconds = time.monotonic() - started
            if process.poll() is not None:
                raise SystemExit("make up ended")
            return seconds
        finally:
            process.send_signal(signal.SIGTERM)


def measure_demo() -> float:
    """Return the seconds of `make demo ONCE=1` on a new state folder."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"STATE_DIR": folder}):
        started = time.monotonic()
        with _stack_command("demo", "--once") as process:
            if process.wait():
                raise SystemExit("make demo ended with an error")
        return time.monotonic() - started


def _stack_command(*arguments: str) -> subprocess.Popen:
    environment = os.environ | {"PORT": str(free_port())}
    return subprocess.Popen(
        [sys.executable, "-m", "stack", *arguments], cwd=REPO_PATH, env=environment, stdout=subprocess.DEVNULL
    )


def main() -> None:
    """Measure both stacks and the starts, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="without the configured model and the demo, each once")
    options = parser.parse_args()
    repeats = 1 if options.smoke else options.repeats
    console = Console()
    table = markdown_table("what", "language model", "data product", "runs", "median s", "spread s")

    def add(what: str, model: str, product: str, times: list[float]) -> None:
        table.add_row(what, model, product, str(len(times)), *spread(times))

    with instant_model() as instant:
        for name, variables in (("answers at once", instant), ("configured", {})):
            if options.smoke and not variables:
                continue
            with (
                tempfile.TemporaryDirectory() as folder,
                patch.dict(os.environ, variables | {"STATE_DIR": folder, "LLM_CACHE": "0"}),
            ):
                stale, *fresh = measure_chain(repeats, console)
                add("chain", name, "stale, first run", [stale])
                add("chain", name, "fresh", fresh)
                if variables:
                    starts = []
                    for _ in range(repeats):
                        with console.step("make up on the used state folder"):
                            starts.append(measure_start(Path(folder)))
    add("`make up`, used state folder", "answers at once", "", starts)
    if not options.smoke:
        with console.step("make demo ONCE=1"):
            add("`make demo ONCE=1`, new state folder", "configured", "stale", [measure_demo()])
    show(table, console.rich)


if __name__ == "__main__":
    main()
