"""The pipe that wakes the scheduler."""

import multiprocessing
import os
import time

from mage_server import wakeups


def seconds_of_wait(longest: float) -> float:
    started = time.monotonic()
    wakeups.wait(longest)
    return time.monotonic() - started


def test_a_forked_process_wakes_the_waiting_one():
    process = multiprocessing.get_context("fork").Process(target=wakeups.wake)
    process.start()
    assert seconds_of_wait(30) < 20
    process.join()


def test_what_happened_before_the_wait_ends_it_once():
    for _ in range(3):
        wakeups.wake()
    assert seconds_of_wait(30) < 20
    assert seconds_of_wait(0.2) >= 0.2


def test_a_full_pipe_stops_nobody():
    for _ in range(2 * os.sysconf("SC_PAGESIZE") * 16 + 1):
        wakeups.wake()
    assert seconds_of_wait(30) < 20
