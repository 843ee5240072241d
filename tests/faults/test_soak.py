"""A stack that is left alone for a while, with its schedules twenty times as fast, while its processes are killed.

`make soak MINUTES=60` prints what was lost, doubled or stuck, and the resources at the start and at the end.
"""

import logging
import os
import random
import time
from collections import Counter

import psutil
import pytest

from stack.launch import Stack
from stack.mage_client import wait_until
from stack.mage_database import PipelineRun
from tests.faults.chain import SETTLE_SECONDS, assert_whole, has_settled, now, runs_since, start_run
from tests.faults.processes import ROLES, assert_one_mage, everything, kill

logger = logging.getLogger(__name__)

MINUTES = float(os.environ.get("SOAK_MINUTES", "0"))
SEED = int(os.environ.get("FAULT_SEED", "1"))
INTERVALS = {"ingestion": 15 * 60 / 20, "sql_python_workflow": 60 * 60 / 20}
SECONDS_BETWEEN_KILLS = 90.0

pytestmark = [
    pytest.mark.skipif(not MINUTES, reason="make soak MINUTES=60 runs it"),
    pytest.mark.timeout(60 * MINUTES + 3 * SETTLE_SECONDS),
]


def resources(stack: Stack) -> dict[str, int]:
    """Return memory, processes, threads and open files of all that runs, and the files of the state folder."""
    used: Counter[str] = Counter()
    for process in everything(stack.settings):
        try:
            used["memory_mb"] += process.memory_info().rss // 1_000_000
            used["threads"] += process.num_threads()
            used["open_files"] += process.num_fds()
            used["processes"] += 1
        except psutil.Error:
            continue
    paths = [path for path in stack.settings.state_dir.rglob("*") if path.is_file()]
    used["state_files"], used["state_mb"] = len(paths), sum(path.stat().st_size for path in paths) // 1_000_000
    return dict(used)


def test_nothing_is_lost_doubled_or_stuck(up):
    generator, moment = random.Random(SEED), now()
    command = up()
    stack = command.start()
    wait_until(lambda: stack.database.runs("sql_python_workflow") and has_settled(stack, moment), SETTLE_SECONDS)
    at_start, ends_at = resources(stack), time.monotonic() + 60 * MINUTES
    due = dict.fromkeys(INTERVALS, 0.0)
    next_kill, killed = time.monotonic() + SECONDS_BETWEEN_KILLS, Counter[str]()
    started: dict[int, PipelineRun] = {}
    while time.monotonic() < ends_at:
        for pipeline, interval in INTERVALS.items():
            if time.monotonic() >= due[pipeline]:
                due[pipeline] = time.monotonic() + interval
                stack, run = start_run(command, pipeline)
                started[run.id] = run
        if time.monotonic() >= next_kill:
            next_kill += generator.expovariate(1 / SECONDS_BETWEEN_KILLS)
            role = generator.choice(list(ROLES))
            killed[role] += min(1, kill(ROLES[role], stack.settings, generator))
        time.sleep(1)
    wait_until(lambda: has_settled(command.started_again(), moment), SETTLE_SECONDS)
    stack = command.started_again()
    runs = runs_since(stack, moment, limit=10_000)
    assert_whole(stack, runs)
    assert_one_mage(stack.settings)
    lost = started.keys() - {run.id for run in runs}
    logger.warning("seed %d, %g minutes, killed %s", SEED, MINUTES, dict(killed))
    logger.warning(
        "runs %s; started here %d, lost %d", dict(Counter(one.status for one in runs)), len(started), len(lost)
    )
    logger.warning("at the start %s", at_start)
    logger.warning("at the end   %s", resources(stack))
    assert not lost
