"""When is another pipeline's data fresh enough: the decision, free of Mage and of the clock."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from workflows.common.errors import WorkflowError
from workflows.common.pipeline_runs import PipelineRun

logger = logging.getLogger(__name__)


def fresh_run(runs: Sequence[PipelineRun], now: datetime, max_age: timedelta) -> PipelineRun | None:
    """Return the most lately completed run if it completed at most `max_age` before `now`.

    Failed runs do not count either way: one that failed after it does not make good data old.
    """
    completed = [run for run in runs if run.is_completed and run.completed_at is not None]
    newest = max(completed, key=lambda run: run.completed_at or datetime.min, default=None)
    if newest is None or newest.completed_at is None or now - newest.completed_at > max_age:
        return None
    return newest


def wait_for_fresh_run(
    list_runs: Callable[[], Sequence[PipelineRun]],
    *,
    pipeline_uuid: str,
    max_age: timedelta,
    timeout: timedelta,
    poll_seconds: float = 2,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> PipelineRun:
    """Wait until a pipeline has a fresh completed run, and return it.

    Args:
        list_runs: Newest runs of the pipeline, read again at every look.
        pipeline_uuid: Its name, for the messages.
        max_age: How old the completion may be.
        timeout: When to give up.
        poll_seconds: Time between two looks.
        clock: Present time, UTC.
        sleep: Waits for a number of seconds.

    Raises:
        WorkflowError: none was completed in time; the message says what there was instead.
    """
    deadline = clock() + timeout
    while True:
        runs = list_runs()
        if run := fresh_run(runs, clock(), max_age):
            logger.info("Run %s of %s completed at %s: fresh enough", run.id, pipeline_uuid, run.completed_at)
            return run
        if clock() >= deadline:
            raise WorkflowError(
                f"No run of {pipeline_uuid} completed within the last {max_age} after waiting {timeout}: "
                f"{_describe(runs)}. Look at its runs and start one; then run this pipeline again"
            )
        sleep(poll_seconds)


def _describe(runs: Sequence[PipelineRun]) -> str:
    if not runs:
        return "it has never run"
    in_flight = sum(run.is_in_flight for run in runs)
    completed = [run.completed_at for run in runs if run.is_completed and run.completed_at]
    newest = f"the last one completed at {max(completed):%Y-%m-%d %H:%M} UTC" if completed else "none completed"
    return f"of its last {len(runs)} runs {in_flight} are under way, {newest}"
