"""DuckDB lets one process at a time open a file: people, kernels and runs contend for it."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.servers import instant_model
from stack.console import Console
from stack.demo import follow
from stack.launch import Stack
from stack.mage_client import wait_until

pytestmark = pytest.mark.timeout(1800)
TIMES = 50
LONGEST_SECONDS = 3.0
# What a person at a prompt, or a kernel after an error, does: open the database, and keep it.
HOLD = """
import sys, time, duckdb
while True:
    try:
        connection = duckdb.connect(sys.argv[1])
        break
    except duckdb.IOException:
        time.sleep(0.05)
print("open", flush=True)
time.sleep(float(sys.argv[2]))
"""


@contextmanager
def held(database: Path, seconds: float) -> Iterator[subprocess.Popen]:
    """Keep a database open in another process."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, database, str(seconds)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def stack(up) -> Iterator[Stack]:
    with instant_model() as model:
        running = up(**model).start()
        wait_until(lambda: [run for run in running.database.runs("sql_python_workflow") if run.has_ended], 300)
        yield running


def test_runs_wait_for_others_that_have_the_database_open(stack):
    database = stack.settings.state_dir / "warehouse.duckdb"
    generator, stop = random.Random(1), threading.Event()
    opened = 0

    def contend() -> None:
        nonlocal opened
        while not stop.is_set():
            with held(database, 60):
                opened += 1
                time.sleep(generator.uniform(0, LONGEST_SECONDS))
            time.sleep(generator.uniform(0, LONGEST_SECONDS))

    person = threading.Thread(target=contend)
    person.start()
    try:
        runs = []
        while opened < TIMES:
            for pipeline in ("ingestion", "sql_python_workflow"):
                runs += follow(stack.database, stack.start_run(pipeline), Console())
    finally:
        stop.set()
        person.join()
    assert {run.status for run in runs} == {"completed"}, [run for run in runs if run.status != "completed"]


def test_a_run_says_who_keeps_the_database_open(stack):
    database = stack.settings.state_dir / "warehouse.duckdb"
    with held(database, 3600) as person:
        started = [stack.start_run(pipeline) for pipeline in ("ingestion", "sql_python_workflow")]
        ended = [follow(stack.database, run, Console())[0] for run in started]
    assert [run.status for run in ended] == ["failed", "failed"]
    for run, block in zip(ended, ("export_companies", "join_passengers_companies"), strict=True):
        logs = stack.settings.state_dir.rglob(f"pipelines/{run.pipeline}/**/{block}.log")
        newest = max(logs, key=lambda path: path.stat().st_mtime)
        assert f"(PID {person.pid})" in newest.read_text()
    # Once it is closed, all is as before.
    for pipeline in ("ingestion", "sql_python_workflow"):
        runs = follow(stack.database, stack.start_run(pipeline), Console())
        assert {run.status for run in runs} == {"completed"}
