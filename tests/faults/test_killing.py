"""Kill a process of the stack at a random moment of the chain, again and again: nothing is lost, doubled or broken.

`make faults ROUNDS=30 SEED=7` runs more rounds, and those of a seed again; ROLE=server kills that process alone.
"""

import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

import duckdb
import psutil
import pytest

from mage_server.heartbeat import heartbeat_path
from stack.demo import GRAPH
from stack.launch import Stack, stack_record_path
from stack.mage_client import MageError, children, wait_until
from stack.mage_database import DatabaseError, PipelineRun
from stack.mage_process import record_path
from tests.up import Up
from workflows.advice.framework import newest_framework
from workflows.common.processes import recorded_process
from workflows.common.settings import Settings
from workflows.survival.registry import load, serving_version, version_names

logger = logging.getLogger(__name__)

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "2"))
SEED = int(os.environ.get("FAULT_SEED", "1"))
ROLE = os.environ.get("FAULT_ROLE")
# The chain takes about as long when all is well.
LATEST_KILL_SECONDS = 25.0
# A new server and scheduler, the retries of a block, and the chain itself.
ROUND_SECONDS = 420
POLL_SECONDS = 0.1

pytestmark = pytest.mark.timeout(300 + ROUNDS * 2 * ROUND_SECONDS)


def now() -> datetime:
    """Mage's database keeps the seconds of a time."""
    return datetime.now(UTC).replace(microsecond=0)


def family(process: psutil.Process | None) -> list[psutil.Process]:
    try:
        return process.children(recursive=True) if process is not None else []
    except psutil.NoSuchProcess:
        return []


def named(processes: Sequence[psutil.Process], text: str) -> list[psutil.Process]:
    found = []
    for process in processes:
        try:
            if text in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def server(settings: Settings) -> list[psutil.Process]:
    return [process for process in [recorded_process(record_path(settings))] if process is not None]


def scheduler(settings: Settings) -> list[psutil.Process]:
    try:
        pid = int(heartbeat_path().read_text())
    except (FileNotFoundError, ValueError):
        return []
    return [process for one in server(settings) for process in one.children() if process.pid == pid]


def manager(settings: Settings) -> list[psutil.Process]:
    """The process that holds the state of the job queue: forked from the server, as the scheduler is."""
    schedulers = scheduler(settings)
    forks = [process for one in server(settings) for process in named(one.children(), "mage_server")]
    return [process for process in forks if process not in schedulers]


def pool(settings: Settings) -> list[psutil.Process]:
    return [process for one in scheduler(settings) for process in named(one.children(), "mage_server")]


def worker(settings: Settings) -> list[psutil.Process]:
    return [process for one in pool(settings) for process in named(one.children(), "mage_server")]


def kernel(settings: Settings) -> list[psutil.Process]:
    return [process for one in server(settings) for process in named(family(one), "ipykernel")]


def spark(settings: Settings) -> list[psutil.Process]:
    return [process for one in server(settings) for process in named(family(one), "org.apache.spark")]


def service(name: str) -> Callable[[Settings], list[psutil.Process]]:
    def find(settings: Settings) -> list[psutil.Process]:
        process = recorded_process(settings.state_dir / "services" / f"{name}.json")
        return [process] if process is not None else []

    return find


def stack_command(settings: Settings) -> list[psutil.Process]:
    process = recorded_process(stack_record_path(settings))
    return [process] if process is not None else []


def everything(settings: Settings) -> list[psutil.Process]:
    roots = stack_command(settings) + server(settings)
    roots += [process for name in ("llm_server", "companies_api") for process in service(name)(settings)]
    return [*roots, *(child for root in roots for child in family(root))]


ROLES: dict[str, Callable[[Settings], list[psutil.Process]]] = {
    "server": server,
    "scheduler": scheduler,
    "manager": manager,
    "pool": pool,
    "worker": worker,
    "kernel": kernel,
    "spark": spark,
    "model server": service("llm_server"),
    "companies API": service("companies_api"),
    "stack": stack_command,
    "everything": everything,
}


def rounds(generator: random.Random) -> Iterator[tuple[str, float]]:
    """Yield a role and the seconds after which it is killed; every role comes before one comes again."""
    while True:
        for role in [ROLE] if ROLE else generator.sample(list(ROLES), len(ROLES)):
            yield role, generator.uniform(0, LATEST_KILL_SECONDS)


def kill(find: Callable[[Settings], list[psutil.Process]], settings: Settings, generator: random.Random) -> int:
    """Kill a process of a role as soon as there is one, all where it is everything; return how many."""
    deadline = time.monotonic() + LATEST_KILL_SECONDS
    while not (found := find(settings)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for process in found if find is everything else generator.sample(found, min(1, len(found))):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return len(found)


def runs_since(stack: Stack, moment: datetime) -> list[PipelineRun]:
    runs = [run for pipeline in GRAPH.pipelines for run in stack.database.runs(pipeline)]
    runs += [run for product in GRAPH.data_products for run in stack.database.refreshes(product)]
    return [run for run in runs if run.created_at >= moment]


def has_settled(stack: Stack, moment: datetime) -> bool:
    """Whether all runs have ended, and each completed one has started what it starts."""
    try:
        runs = runs_since(stack, moment)
    except DatabaseError:
        return False
    return all(run.has_ended for run in runs) and not any(
        run.status == "completed"
        and run.trigger != "GLOBAL_DATA_PRODUCT_TRIGGER"
        and not GRAPH.pipelines[run.pipeline].starts.keys() <= {child.pipeline for child in children(runs, run)}
        for run in runs
    )


def start_run(up: Up, pipeline: str) -> tuple[Stack, PipelineRun]:
    """Start a run, however often the server is down."""

    def started() -> tuple[Stack, PipelineRun] | None:
        stack = up.started_again()
        try:
            return stack, stack.start_run(pipeline)
        except (MageError, DatabaseError):
            return None

    return wait_until(started, ROUND_SECONDS)


def assert_whole(stack: Stack, runs: Sequence[PipelineRun]) -> None:
    """Check that nothing is doubled, and that all that was written can be read whole."""
    for run in runs:
        names = [block.block for block in run.blocks]
        assert len(names) == len(set(names)), f"blocks of {run.pipeline} #{run.id} are doubled: {names}"
        started = Counter(child.pipeline for child in children(runs, run) if child.status == "completed")
        assert all(count == 1 for count in started.values()), f"{run.pipeline} #{run.id} started {started}"
    settings = stack.settings
    with duckdb.connect(str(settings.state_dir / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.sql("SELECT count(*), sum(employeeCount) FROM raw_companies").fetchall() == [(12, 35_000)]
    for name in version_names(settings.models_dir):
        load(settings.models_dir, name)
    serving_version(settings.models_dir)
    assert newest_framework(settings.state_dir / "frameworks").groups
    for path in (settings.llm_dir / "answers").glob("*.json"):
        assert json.loads(path.read_text()), path


def processes_of(state_dir: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            is_mage = "mage_server" in " ".join(process.cmdline())
            if is_mage and process.environ().get("STATE_DIR") == state_dir and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_one_mage(settings: Settings) -> None:
    """Check that every process of Mage belongs to the server that runs: none is left of one that was killed."""

    def is_one() -> bool:
        (root,) = server(settings)
        return {one.pid for one in processes_of(str(settings.state_dir))} <= {root.pid, *(p.pid for p in family(root))}

    wait_until(is_one, 60)


@pytest.fixture(scope="module")
def stack_up(up) -> Up:
    """The stack, after a first chain that was left alone."""
    command = up()
    moment = now()
    stack = command.start()
    wait_until(lambda: stack.database.runs("sql_python_workflow") and has_settled(stack, moment), ROUND_SECONDS)
    assert {run.status for run in runs_since(stack, moment)} == {"completed"}
    return command


@pytest.mark.parametrize(
    ("number", "role", "seconds"), [(n, *one) for n, one in enumerate(islice(rounds(random.Random(SEED)), ROUNDS))]
)
def test_a_chain_in_which_a_process_is_killed(stack_up, number, role, seconds):
    generator = random.Random(SEED * 1000 + number)
    moment = now()
    stack, _ = start_run(stack_up, "ingestion")
    stack, _ = start_run(stack_up, "sql_python_workflow")
    time.sleep(seconds)
    killed = kill(ROLES[role], stack.settings, generator)
    started = time.monotonic()

    def settled() -> bool:
        return has_settled(stack_up.started_again(), moment)

    wait_until(settled, ROUND_SECONDS)
    runs = runs_since(stack, moment)
    assert_whole(stack, runs)
    assert_one_mage(stack.settings)
    settled_after, statuses = time.monotonic() - started, Counter(run.status for run in runs)
    # A run that a kill has ended is made again by the next schedule; that one is normal.
    after = now()
    stack, _ = start_run(stack_up, "ingestion")
    wait_until(lambda: has_settled(stack, after), 120)
    assert {run.status for run in runs_since(stack, after)} == {"completed"}
    logger.warning(
        "seed %d, round %d: %s (%d found) killed after %.1f s; all had ended %.0f s later: %s",
        SEED,
        number,
        role,
        killed,
        seconds,
        settled_after,
        dict(statuses),
    )


def test_the_chain_is_normal_after_all_of_it(stack_up):
    moment = now()
    stack, run = start_run(stack_up, "sql_python_workflow")
    wait_until(lambda: has_settled(stack, moment), ROUND_SECONDS)
    runs = runs_since(stack, moment)
    assert {one.status for one in runs} == {"completed"}
    assert {one.pipeline for one in runs} >= set(GRAPH.chain("sql_python_workflow"))
    assert_whole(stack, runs)
    assert run.id in {one.id for one in runs}
