"""The queue of jobs with real processes."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.mage_client import wait_until


@pytest.fixture
def queue(mage) -> Iterator:
    from mage_ai.orchestration.queue.config import QueueConfig

    from mage_server.job_queue import JobQueue

    made = JobQueue(QueueConfig(concurrency=4))
    made.start()
    yield made
    made.stop()
    if made.worker_pool_proc is not None:
        made.worker_pool_proc.terminate()
        made.worker_pool_proc.join()
    made.mp_manager.shutdown()


def note(folder: Path) -> None:
    """A job: leave a file named by the process."""
    (folder / f"{os.getpid()}").touch()


def slow(folder: Path) -> None:
    note(folder)
    time.sleep(1)


def count(folder: Path, expected: int) -> bool:
    return len(list(folder.iterdir())) >= expected


def test_every_job_runs_however_long_the_pool_was_idle(queue, tmp_path):
    for number in range(4):
        queue.enqueue(f"block_run_{number}", note, tmp_path)
        wait_until(lambda number=number: count(tmp_path, number + 1), 20, poll_seconds=0.05)
        # Idle for long enough that a pool which ends when idle is about to.
        time.sleep(0.4 * number)
    assert queue.is_worker_pool_alive()


def test_a_job_that_is_put_again_while_it_is_on_its_way_runs_once(queue, tmp_path):
    for _ in range(200):
        queue.enqueue("block_run_1", slow, tmp_path)
    assert queue.has_job("block_run_1")
    wait_until(lambda: not queue.has_job("block_run_1"), 20)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_burst_of_jobs_runs_whole(queue, tmp_path):
    for number in range(12):
        queue.enqueue(f"block_run_{number}", note, tmp_path)
    assert wait_until(lambda: count(tmp_path, 12), 30)


def test_a_lost_job_can_be_put_again(queue, monkeypatch):
    from mage_ai.orchestration.queue.process_queue import JobStatus

    queue.job_dict["block_run_1"] = JobStatus.QUEUED
    queue._enqueued_at["block_run_1"] = time.monotonic() - 60
    assert not queue.has_job("block_run_1")


def test_a_job_that_ended_since_the_scheduler_looked_at_its_block_is_not_lost(queue, tmp_path):
    from mage_ai.orchestration.queue.process_queue import JobStatus

    queue.enqueue("block_run_1", note, tmp_path)
    wait_until(lambda: queue.job_dict["block_run_1"] == JobStatus.COMPLETED, 20, poll_seconds=0.05)
    assert queue.has_job("block_run_1")
    assert not queue.has_job("block_run_1")
    queue.clean_up_jobs()
    assert queue.job_dict.keys() == []


def test_a_block_that_is_tried_again_at_once_runs_again(queue, tmp_path):
    for number in range(2):
        queue.enqueue("block_run_1", note, tmp_path)
        wait_until(lambda number=number: count(tmp_path, number + 1), 20, poll_seconds=0.05)
        wait_until(lambda: not isinstance(queue.job_dict["block_run_1"], int), 20, poll_seconds=0.05)


def test_a_killed_pool_is_replaced_and_what_waited_counts_as_lost(queue, tmp_path):
    """It almost always holds the lock of the queue, since it waits for jobs."""
    queue.enqueue("block_run_1", note, tmp_path)
    wait_until(lambda: count(tmp_path, 1), 20)
    queue.worker_pool_proc.kill()
    queue.worker_pool_proc.join()
    queue._enqueued_at["block_run_2"] = time.monotonic()
    queue.job_dict["block_run_2"] = "queued"
    queue.queue.put(["block_run_2", note, (tmp_path,), {}])
    queue.clean_up_jobs()
    assert queue.is_worker_pool_alive()
    assert not queue.has_job("block_run_2")
    queue.enqueue("block_run_2", note, tmp_path)
    assert wait_until(lambda: count(tmp_path, 2), 20)


def test_a_killed_manager_is_replaced_for_the_next_scheduler(queue, tmp_path):
    os.kill(queue.mp_manager._process.pid, signal.SIGKILL)
    queue.mp_manager._process.join()
    with pytest.raises((EOFError, OSError)):
        queue.has_job("block_run_1")
    queue.renew()
    queue.enqueue("block_run_1", note, tmp_path)
    assert wait_until(lambda: count(tmp_path, 1), 20)


def test_the_pool_ends_with_its_scheduler():
    from mage_server.job_queue import run_worker_pool

    manager = multiprocessing.Manager()
    started = time.monotonic()
    run_worker_pool(multiprocessing.Queue(), 1, manager.dict(), scheduler_pid=-1)
    assert time.monotonic() - started < 5
    manager.shutdown()
