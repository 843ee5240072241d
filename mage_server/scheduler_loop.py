"""The loop of Mage's scheduler, which also looks when something has happened instead of at its interval only.

Mage's loop sleeps `SCHEDULER_TRIGGER_INTERVAL` between two looks, so each block of a chain waits for the next one. Here
a byte in a pipe ends the sleep: sent when a block has ended, and when a run is put into the database by any process
that was forked from this server. Such a look schedules the blocks of the runs that are under way; schedules and new
runs are seen to by a whole look, which comes at the interval, or at once where a new run waits.

Mage reads each block's row by itself, again after every commit, and asks for each child of a dynamic block anew whether
what is above it has completed: with a thousand children, a look takes seconds. Here a look reads and asks once. The
rows of a run's blocks are made together, all or none of them.
"""

import functools
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from mage_ai.data_preparation.models.block import Block
from mage_ai.data_preparation.models.block.dynamic.child import DynamicChildController
from mage_ai.orchestration.db import db_connection, session_factory
from mage_ai.orchestration.db.models import schedules
from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun
from mage_ai.orchestration.pipeline_scheduler import PipelineScheduler
from mage_ai.orchestration.triggers.loop_time_trigger import LoopTimeTrigger
from sqlalchemy import event
from sqlalchemy.orm import Session

from mage_server import wakeups

logger = logging.getLogger(__name__)

_NEW_RUN = "has_new_run"


def install() -> None:
    """Replace Mage's loop. Call it before Mage starts the scheduler, in the process that it is forked from."""
    LoopTimeTrigger.start = _run_loop
    PipelineRun.create_block_runs = _all_or_none(PipelineRun.create_block_runs)
    controller = DynamicChildController
    controller.execute_sync = _all_or_none(controller.execute_sync, controller.pipeline_run)
    schedules.check_all_dynamic_upstreams_completed = _asking_once(schedules.check_all_dynamic_upstreams_completed)
    event.listen(PipelineRun, "after_insert", _note_new_run)
    event.listen(session_factory, "after_commit", _wake_after_new_run)


def _run_loop(self: LoopTimeTrigger) -> None:
    _read_block_runs_once_a_look()
    whole_look_at = time.monotonic()
    while True:
        if time.monotonic() >= whole_look_at or _has_new_run():
            self.run()
            whole_look_at = time.monotonic() + self.trigger_interval
        else:
            _schedule_running()
        wakeups.wait(whole_look_at - time.monotonic())


def _has_new_run() -> bool:
    db_connection.session.expire_all()
    new = PipelineRun.query.filter(PipelineRun.status == PipelineRun.PipelineRunStatus.INITIAL)
    return new.first() is not None


def _schedule_running() -> None:
    for run in PipelineRun.query.filter(PipelineRun.status == PipelineRun.PipelineRunStatus.RUNNING).all():
        try:
            PipelineScheduler(run).schedule()
        except Exception:
            logger.exception("Run %s could not be scheduled", run.id)


def _read_block_runs_once_a_look() -> None:
    """Keep rows in the session from the start of a look, where all expire, to its end."""
    scheduler_pid, refresh, create = os.getpid(), BlockRun.refresh, PipelineRun.create_block_runs

    def refresh_outside_of_looks(self: BlockRun) -> None:
        # Workers are forked from this process.
        if os.getpid() != scheduler_pid:
            refresh(self)

    def create_and_expire(self: PipelineRun) -> Any:
        created = create(self)
        db_connection.session.expire(self, ["block_runs"])
        return created

    BlockRun.refresh = refresh_outside_of_looks
    PipelineRun.create_block_runs = create_and_expire
    db_connection.session().expire_on_commit = False


def _all_or_none(
    original: Callable[..., Any], run_of: Callable[[Any], PipelineRun] = lambda run: run
) -> Callable[..., Any]:
    """Make the block runs of a run, or the children of a dynamic block, in one transaction.

    Mage makes one after the other. If it is killed meanwhile, it takes the first ones for all of them, and the run
    completes without the others.
    """

    @functools.wraps(original)
    def create(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = run_of(self)
        run.create_block_run = functools.partial(type(run).create_block_run, run, commit=False)
        try:
            created = original(self, *args, **kwargs)
            db_connection.session.commit()
        except Exception:
            db_connection.session.rollback()
            raise
        finally:
            # To roll back has expired it.
            vars(run).pop("create_block_run", None)
        return created

    return create


def _asking_once(original: Callable[..., bool]) -> Callable[..., bool]:
    """Keep the answers for a list of block runs: its children differ in their item only."""
    kept: tuple[list[BlockRun], dict[str, bool]] = ([], {})

    @functools.wraps(original)
    def check(block: Block, block_runs: list[BlockRun], execution_partition: str | None = None) -> bool:
        nonlocal kept
        if kept[0] is not block_runs:
            kept = (block_runs, {})
        answers = kept[1]
        if block.uuid not in answers:
            answers[block.uuid] = original(block, block_runs, execution_partition=execution_partition)
        return answers[block.uuid]

    return check


def _note_new_run(_mapper: Any, _connection: Any, run: PipelineRun) -> None:
    session = Session.object_session(run)
    if session is not None:
        session.info[_NEW_RUN] = True


def _wake_after_new_run(session: Session) -> None:
    if session.info.pop(_NEW_RUN, False):
        wakeups.wake()
