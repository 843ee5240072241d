"""Compare the fan-out of dynamic_blocks_workflow with Airflow, Prefect and Dagster: one call of a model per child.

Run as `python -m benchmarks.bench_fanout`. All call the same server, which answers at once. Each tool has an
environment of its own, which `make bench-fanout` makes, and an empty database; its processes run only while it is
measured. Measured is a whole run, from the moment when it is asked for to its end. The start of servers is left out,
but for Prefect's first, cold run. What was set is said at each tool below.
"""

import argparse
import contextlib
import json
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import psutil
import requests

from benchmarks.servers import instant_model
from benchmarks.tables import markdown_table, ratio, show, spread
from stack.console import Console
from stack.demo import GRAPH, follow, start_or_join
from stack.launch import CALLED_FROM_CODE, running_stack
from stack.mage_client import wait_until
from workflows.common.processes import free_port, stop_process
from workflows.common.settings import REPO_PATH, get_settings
from workflows.dynamic_blocks_workflow.fan_out import ROWS_PER_ITEM

PIPELINE = "dynamic_blocks_workflow"
OWN = f"{PIPELINE}, a process a child"
TIMEOUT_SECONDS = 1800


def measure_own(counts: list[int], runs: int, console: Console) -> dict[int, list[float]]:
    """Return the seconds of runs by number of children, with the settings of `make up`; the caches are off."""
    seconds: dict[int, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"STATE_DIR": folder, "PORT": str(free_port()), "LLM_CACHE": "0"}),
        running_stack(get_settings(), console) as stack,
    ):
        # On a new state folder the schedules start their first runs, which would be measured too.
        for pipeline in GRAPH.scheduled:
            follow(stack.database, start_or_join(stack, console, pipeline), console)
        for count in counts:
            for _ in range(runs):
                # Mage's database has the creation of a run as a whole second.
                asked_at = datetime.now(UTC)
                started = stack.start_run(PIPELINE, CALLED_FROM_CODE, {"count": count * ROWS_PER_ITEM})
                run = next(run for run in follow(stack.database, started, console) if run.id == started.id)
                if run.status != "completed" or run.completed_at is None:
                    raise SystemExit(f"The run of {count} children ended as {run.status}")
                seconds.setdefault(count, []).append((run.completed_at - asked_at).total_seconds())
    return seconds


def peer_python(name: str) -> Path:
    """Return the interpreter of a peer's environment, which may be missing; see `make setup-bench-<name>`."""
    return REPO_PATH / f".venv-bench-{name.partition('-')[0]}" / "bin" / "python"


def measure_airflow(count: int, runs: int) -> list[float]:
    """`airflow standalone`: API server, scheduler, LocalExecutor (a process a task), SQLite, limits as shipped."""
    airflow = peer_python("airflow").with_name("airflow")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        port = free_port()
        (Path(folder) / "dags").mkdir()
        (Path(folder) / "dags" / "fan_out.py").write_bytes((REPO_PATH / "benchmarks" / "peer_airflow.py").read_bytes())
        environment = os.environ | {
            "AIRFLOW_HOME": folder,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            # On a busy machine, tasks whose server takes longer than 5 s to answer fail.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "FAN_OUT_ITEMS": str(count),
            "PATH": f"{airflow.parent}:{os.environ['PATH']}",
        }
        log = stack.enter_context((Path(folder) / "standalone.log").open("wb"))
        server = subprocess.Popen(
            [airflow, "standalone"], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        stack.callback(lambda: stop_process(psutil.Process(server.pid)))

        def rows(statement: str) -> list[tuple]:
            with contextlib.closing(sqlite3.connect(f"{folder}/airflow.db", timeout=30)) as connection:
                return connection.execute(statement).fetchall()

        def is_read() -> bool:
            if server.poll() is not None:
                raise SystemExit(f"Airflow ended: {Path(log.name).read_text()[-2000:]}")
            with contextlib.suppress(sqlite3.OperationalError, requests.RequestException):
                health = requests.get(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=10)
                return health.ok and bool(rows("SELECT 1 FROM dag WHERE dag_id = 'fan_out'"))
            return False

        wait_until(is_read, 300)
        for number in range(runs):
            command = [airflow, "dags", "trigger", "fan_out", "--run-id", f"run_{number}"]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            ended = f"SELECT state FROM dag_run WHERE run_id = 'run_{number}' AND end_date IS NOT NULL"
            ((state,),) = wait_until(lambda statement=ended: rows(statement), TIMEOUT_SECONDS)
            if state != "success":
                raise SystemExit(f"Airflow's run ended as {state}: {Path(log.name).read_text()[-2000:]}")
        times = rows("SELECT queued_at, end_date FROM dag_run ORDER BY id")
        return [(datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds() for begin, end in times]


def measure_prefect(count: int, runs: int) -> list[float]:
    """Threads of one process, Prefect's own server and SQLite; the first run is cold."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {"PREFECT_HOME": folder, "DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "ERROR"}
        variables["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "300"
        return _seconds("prefect", [count, runs + 1], variables)


def measure_dagster(count: int, runs: int, executor: str) -> list[float]:
    """A run of one process, or with a process an op and as many at a time as there are cores; SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        return _seconds("dagster", [count, runs, executor], {"DAGSTER_HOME": folder})


# What to call each peer, by the name that an option takes; the first part of the name is its environment's.
PEERS: dict[str, tuple[str, Callable[[int, int], list[float]]]] = {
    "airflow": ("Airflow, a process a task", measure_airflow),
    "prefect": ("Prefect, threads of one process", measure_prefect),
    "dagster": ("Dagster, one process", lambda count, runs: measure_dagster(count, runs, "in_process")),
    # Takes minutes, so once.
    "dagster-processes": ("Dagster, a process an op", lambda count, _: measure_dagster(count, 1, "multiprocess")),
}


def measure_peers(names: list[str], count: int, runs: int, console: Console) -> Iterator[tuple[str, list[float]]]:
    """Yield the seconds of each peer that is asked for."""
    for name in names:
        label, measure = PEERS[name]
        with console.step(label):
            seconds = measure(count, runs)
        if name == "prefect":
            cold, *seconds = seconds
            yield f"{label}, cold", [cold]
            label += ", warm"
        yield label, seconds


def _seconds(name: str, arguments: list[object], variables: dict[str, str]) -> list[float]:
    done = subprocess.run(
        [peer_python(name), "-m", f"benchmarks.peer_{name}", *map(str, arguments)],
        cwd=REPO_PATH, env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main() -> None:
    """Measure all, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--children", type=int, nargs="+", default=[100, 1000], help="numbers for our own pipeline")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="with the first number")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="three children, one run")
    options = parser.parse_args()
    counts, repeats = ([3], 1) if options.smoke else (options.children, options.repeats)
    if missing := [name for name in options.peers if not peer_python(name).exists()]:
        raise SystemExit(f"No environment of {', '.join(missing)}; make them with make bench-fanout")
    console = Console()
    table = markdown_table("children", "tool", "runs", "median s", "spread s", "÷ ours", "children/s")
    with instant_model() as variables, patch.dict(os.environ, variables):
        own = measure_own(counts, repeats, console)
        found = [(count, OWN, seconds) for count, seconds in own.items()]
        found += [(counts[0], *peer) for peer in measure_peers(options.peers, counts[0], repeats, console)]
    for count, name, seconds in found:
        median, low_to_high = spread(seconds)
        rate = f"{count / float(median):.1f}"
        table.add_row(f"{count:,}", name, str(len(seconds)), median, low_to_high, ratio(seconds, own[count]), rate)
    show(table, console.rich)


if __name__ == "__main__":
    main()
