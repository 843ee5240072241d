"""Kill a process of the stack at a random moment of the chain, again and again: nothing is lost, doubled or broken.

`make faults ROUNDS=30 SEED=7` runs more rounds, and those of a seed again; ROLE=server kills that process alone.
"""

import contextlib
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest

from benchmarks.servers import instant_model
from stack.demo import GRAPH
from stack.mage_client import wait_until
from tests.faults.chain import SETTLE_SECONDS, assert_whole, has_settled, now, runs_since, start_run
from tests.faults.processes import ROLES, assert_one_mage, kill
from tests.up import Up

logger = logging.getLogger(__name__)

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "2"))
SEED = int(os.environ.get("FAULT_SEED", "1"))
ROLE = os.environ.get("FAULT_ROLE")
# Without it, a server that answers at once stands in for the language model, and there is no model server to kill.
HAS_BUNDLED_MODEL = bool(os.environ.get("FAULT_BUNDLED_MODEL"))
# The chain takes about as long when all is well, most of it for the bundled model, whose answers are not kept here.
LATEST_KILL_SECONDS = 40.0 if HAS_BUNDLED_MODEL else 6.0

pytestmark = pytest.mark.timeout(300 + ROUNDS * 2 * SETTLE_SECONDS)


def rounds(generator: random.Random) -> Iterator[tuple[str, float]]:
    """Yield a role and the seconds after which it is killed; every role comes before one comes again."""
    roles = [ROLE] if ROLE else [role for role in ROLES if HAS_BUNDLED_MODEL or role != "model server"]
    while True:
        for role in generator.sample(roles, len(roles)):
            yield role, generator.uniform(0, LATEST_KILL_SECONDS)


@pytest.fixture(scope="module")
def stack_up(up) -> Iterator[Up]:
    """The stack, after a first chain that was left alone."""
    with contextlib.nullcontext({"LLM_CACHE": "0"}) if HAS_BUNDLED_MODEL else instant_model() as model:
        command = up(**model)
        moment = now()
        stack = command.start()
        wait_until(lambda: stack.database.runs("sql_python_workflow") and has_settled(stack, moment), SETTLE_SECONDS)
        assert {run.status for run in runs_since(stack, moment)} == {"completed"}
        yield command


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

    wait_until(settled, SETTLE_SECONDS)
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
    wait_until(lambda: has_settled(stack, moment), SETTLE_SECONDS)
    runs = runs_since(stack, moment)
    assert {one.status for one in runs} == {"completed"}
    assert {one.pipeline for one in runs} >= set(GRAPH.chain("sql_python_workflow"))
    assert_whole(stack, runs)
    assert run.id in {one.id for one in runs}
