"""How long a write to Mage's database waits while runs are made at a rising rate: when SQLite is no longer enough.

Run as `python -m benchmarks.bench_database`. A stack with an empty state folder gets runs of `ingestion` (three blocks)
at each rate; meanwhile a row is written and committed twenty times a second. MAGE_DATABASE_CONNECTION_URL measures
another database than SQLite; it should be empty, and the table of the rows is dropped at the end.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from benchmarks.servers import instant_model
from benchmarks.tables import markdown_table, show
from stack.console import Console
from stack.demo import GRAPH, follow, start_or_join
from stack.environment import database_url
from stack.launch import Stack, running_stack
from stack.mage_client import wait_until
from workflows.common.processes import free_port
from workflows.common.settings import get_settings

RATES_AN_HOUR = [0, 120, 600, 1200, 2400, 4800, 7200]
WRITE_EVERY_SECONDS = 0.05
PIPELINE = "ingestion"


@contextmanager
def written_rows(url: str) -> Iterator[list[float]]:
    """Write rows until the end of the body, and yield the list of the seconds that each of them took."""
    engine = create_engine(url, poolclass=NullPool)
    seconds: list[float] = []
    is_over = threading.Event()

    def write() -> None:
        with engine.connect() as connection:
            while not is_over.wait(WRITE_EVERY_SECONDS):
                started = time.perf_counter()
                with connection.begin():
                    connection.execute(text("INSERT INTO bench_rows VALUES (1)"))
                seconds.append(time.perf_counter() - started)

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS bench_rows (number INTEGER)"))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield seconds
    finally:
        is_over.set()
        writer.join()
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE bench_rows"))


def measure(stack: Stack, rate: int, duration_seconds: float) -> tuple[int, list[float], list[float]]:
    """Make runs at a rate an hour, and return their number, their seconds, and those of the rows written meanwhile."""
    started = []
    with written_rows(database_url(stack.settings)) as rows:
        ends_at = time.monotonic() + duration_seconds
        while time.monotonic() < ends_at:
            if rate:
                started.append(stack.start_run(PIPELINE).id)
            time.sleep(min(3600 / rate if rate else duration_seconds, max(0, ends_at - time.monotonic())))

        def ended() -> list:
            runs = [run for run in stack.database.runs(PIPELINE, 1000) if run.id in started]
            return runs if all(run.has_ended for run in runs) else []

        runs = wait_until(ended, 600) if started else []
    return len(started), [(run.completed_at - run.created_at).total_seconds() for run in runs], rows


def main() -> None:
    """Measure each rate and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="duration of each rate")
    parser.add_argument("--rates", type=int, nargs="+", default=RATES_AN_HOUR, help="runs an hour")
    parser.add_argument("--smoke", action="store_true", help="two rates, a few seconds each")
    arguments = parser.parse_args()
    rates, seconds_of_rate = ([0, 1200], 6.0) if arguments.smoke else (arguments.rates, arguments.seconds)
    console = Console()
    table = markdown_table("runs an hour", "runs made", "median s of a run", "row ms p50", "row ms p95", "row ms max")
    with (
        tempfile.TemporaryDirectory() as folder,
        instant_model() as model,
        patch.dict(os.environ, {**model, "STATE_DIR": folder, "PORT": str(free_port())}),
        running_stack(get_settings(), console) as stack,
    ):
        for pipeline in GRAPH.scheduled:
            follow(stack.database, start_or_join(stack, console, pipeline), console)
        for rate in rates:
            count, seconds, rows = measure(stack, rate, seconds_of_rate)
            ms = [1000 * one for one in rows]
            median, p95 = statistics.median(ms), statistics.quantiles(ms, n=20)[-1]
            of_runs = f"{statistics.median(seconds):.1f}" if seconds else "-"
            table.add_row(str(rate), str(count), of_runs, f"{median:.1f}", f"{p95:.1f}", f"{max(ms):.0f}")
    show(table, console.rich)


if __name__ == "__main__":
    main()
