import json
import multiprocessing
import time

import pytest

from workflows.ai_blocks.limits import WINDOW_SECONDS, CallLimits
from workflows.common.errors import ServiceError
from workflows.common.time_limit import time_limit


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 1_000_000.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def passing():
    return Time()


@pytest.fixture
def limits(tmp_path, passing):
    def make(at_once=2, per_minute=None, wait_seconds=1000.0):
        return CallLimits(tmp_path, at_once, per_minute, wait_seconds, clock=passing.clock, sleep=passing.sleep)

    return make


def start(limits):
    with limits.place(limits.deadline()):
        pass


def test_no_window_of_a_minute_has_more_starts_than_allowed(limits, passing):
    starts = []
    for number in range(40):
        # Each as another process would.
        start(limits(per_minute=7))
        starts.append(passing.now)
        passing.now += 3.7 if number % 5 else 0
    for first in starts:
        assert sum(first <= later < first + WINDOW_SECONDS for later in starts) <= 7
    assert starts[-1] - starts[0] < (40 / 7) * WINDOW_SECONDS, "slower than the limit"


def test_a_limit_that_lasts_too_long_is_an_error_that_names_the_settings(limits):
    start(limits(per_minute=1))
    with pytest.raises(ServiceError, match=r"MAX_LLM_CALLS_PER_MINUTE.*LLM_WAIT_SECONDS"):
        start(limits(per_minute=1, wait_seconds=10))


def test_a_pause_holds_for_everybody(limits, passing):
    one, other = limits(), limits()
    assert one.pause(500, one.deadline())
    begin = passing.now
    start(other)
    assert passing.now - begin == pytest.approx(500)
    start(one)
    assert passing.now - begin == pytest.approx(500)


def test_the_longest_pause_counts(limits, passing):
    one = limits()
    assert one.pause(100, one.deadline())
    assert one.pause(10, one.deadline())
    begin = passing.now
    start(one)
    assert passing.now - begin == pytest.approx(100)


def test_a_pause_beyond_the_deadline_is_none(limits, passing):
    one = limits(wait_seconds=50)
    assert not one.pause(51, one.deadline())
    begin = passing.now
    start(one)
    assert passing.now == begin


def test_who_waits_less_makes_and_keeps_the_pause_of_all_and_fails_at_once(limits, passing):
    one = limits()
    begin = passing.now
    with time_limit(time.monotonic() + 300):
        assert not one.pause(500, one.deadline())
        with pytest.raises(ServiceError, match="than the caller waits"):
            start(one)
        assert passing.now == begin
    start(one)
    assert passing.now - begin == pytest.approx(500)


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"paused_until": "x", "starts": []}', '{"paused_until": 0, "starts": 3}']
)
def test_a_damaged_file_is_as_none(limits, passing, tmp_path, content):
    (tmp_path / "starts.json").write_text(content)
    begin = passing.now
    start(limits(per_minute=3))
    assert passing.now == begin


def test_times_of_a_clock_that_was_set_back_do_not_count(limits, passing, tmp_path):
    later = passing.now + 10 * 365 * 86400
    (tmp_path / "starts.json").write_text(json.dumps({"paused_until": later, "starts": [later] * 9}))
    begin = passing.now
    start(limits(per_minute=3))
    assert passing.now == begin


def test_places_are_taken_and_given_back(limits, passing):
    one = limits(at_once=1, wait_seconds=5)
    with one.place(one.deadline()), pytest.raises(ServiceError, match="MAX_LLM_CALLS_AT_ONCE"):
        start(limits(at_once=1, wait_seconds=5))
    start(limits(at_once=1, wait_seconds=5))


def test_a_place_is_given_back_after_an_error(limits):
    one = limits(at_once=1, wait_seconds=5)
    with pytest.raises(KeyError), one.place(one.deadline()):
        raise KeyError
    start(one)


def _hold(folder, ready, release):
    limits = CallLimits(folder, 1, None, 60)
    with limits.place(limits.deadline()):
        ready.set()
        release.wait()


def test_the_place_of_a_process_that_is_killed_is_free_again(tmp_path, limits):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, release), daemon=True)
    process.start()
    assert ready.wait(60)
    with pytest.raises(ServiceError):
        start(limits(at_once=1, wait_seconds=5))
    process.kill()
    process.join()
    start(limits(at_once=1, wait_seconds=5))


def test_threads_share_the_places(tmp_path, most_inside):
    def place():
        limits = CallLimits(tmp_path, 3, None, 60)
        return limits.place(limits.deadline())

    assert 1 <= most_inside(place, times=5) <= 3
