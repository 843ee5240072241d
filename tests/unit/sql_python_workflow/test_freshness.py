from datetime import UTC, datetime, timedelta

import pytest

from workflows.common.errors import WorkflowError
from workflows.common.pipeline_runs import PipelineRun
from workflows.sql_python_workflow.freshness import fresh_run, wait_for_fresh_run

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def completed(run_id: int, minutes_ago: float) -> PipelineRun:
    return PipelineRun(run_id, is_completed=True, is_in_flight=False, completed_at=NOW - timedelta(minutes=minutes_ago))


def failed(run_id: int) -> PipelineRun:
    return PipelineRun(run_id, is_completed=False, is_in_flight=False, completed_at=None)


def in_flight(run_id: int) -> PipelineRun:
    return PipelineRun(run_id, is_completed=False, is_in_flight=True, completed_at=None)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def wait(list_runs, clock: Clock, timeout: timedelta = timedelta(minutes=30)) -> PipelineRun:
    return wait_for_fresh_run(
        list_runs, pipeline_uuid="ingestion", max_age=HOUR, timeout=timeout, clock=clock, sleep=clock.sleep
    )


def test_a_run_of_at_most_an_hour_ago_is_fresh():
    assert fresh_run([completed(1, 60)], NOW, HOUR) == completed(1, 60)
    assert fresh_run([completed(1, 60.1)], NOW, HOUR) is None
    assert fresh_run([], NOW, HOUR) is None


def test_the_last_to_complete_counts_whatever_its_id():
    assert fresh_run([completed(3, 50), completed(2, 5), completed(1, 55)], NOW, HOUR) == completed(2, 5)


def test_a_newer_run_that_failed_does_not_matter():
    assert fresh_run([failed(2), completed(1, 20)], NOW, HOUR) == completed(1, 20)


def test_it_waits_for_a_run_under_way():
    clock = Clock()

    def list_runs():
        if clock.now < NOW + timedelta(minutes=2):
            return [in_flight(2), failed(1)]
        return [PipelineRun(2, is_completed=True, is_in_flight=False, completed_at=clock.now)]

    assert wait(list_runs, clock).id == 2


def test_it_outlives_a_failed_run_and_takes_the_next():
    clock = Clock()

    def list_runs():
        if clock.now < NOW + timedelta(minutes=15):
            return [failed(1)]
        return [PipelineRun(2, is_completed=True, is_in_flight=False, completed_at=clock.now), failed(1)]

    assert wait(list_runs, clock).id == 2


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], "it has never run"),
        ([in_flight(2), failed(1)], "of its last 2 runs 1 are under way, none completed"),
        ([completed(1, 120)], "the last one completed at 2024-05-01 10:00 UTC"),
    ],
)
def test_it_gives_up_with_what_it_saw(runs, said):
    clock = Clock()
    with pytest.raises(WorkflowError, match=said):
        wait(lambda: runs, clock)
    assert NOW + timedelta(minutes=30) <= clock.now < NOW + timedelta(minutes=31)
