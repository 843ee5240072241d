import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from workflows.ai_blocks.cache import AnswerCache
from workflows.common.errors import ServiceError
from workflows.common.time_limit import time_limit


@pytest.fixture
def cache(tmp_path):
    return AnswerCache(tmp_path / "answers", max_bytes=1_000_000, wait_seconds=60)


def key(number):
    return AnswerCache.key({"question": number})


def test_what_is_kept_is_found(cache):
    assert cache.get(key(1)) is None
    cache.put(key(1), {"text": "größer"})
    assert cache.get(key(1)) == {"text": "größer"}
    assert cache.get(key(2)) is None


def test_a_key_depends_on_all_of_the_question_and_not_on_its_order():
    assert AnswerCache.key({"a": 1, "b": 2}) == AnswerCache.key({"b": 2, "a": 1})
    assert len({AnswerCache.key(question) for question in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"})}) == 4


@pytest.mark.parametrize("content", [b"", b'{"text": "bro', b"[1]", b"\xff"])
def test_a_damaged_file_is_as_none_and_is_replaced(cache, tmp_path, content):
    cache.put(key(1), {"text": "a"})
    next((tmp_path / "answers").glob("*.json")).write_bytes(content)
    assert cache.get(key(1)) is None
    cache.put(key(1), {"text": "b"})
    assert cache.get(key(1)) == {"text": "b"}


def test_the_size_is_limited_and_what_was_used_lately_stays(tmp_path):
    cache = AnswerCache(tmp_path, max_bytes=5_000, wait_seconds=60)
    for number in range(4):
        cache.put(key(number), {"text": "x" * 1000})
        os.utime(tmp_path / f"{key(number)}.json", (number, number))
    assert cache.get(key(0))
    cache.put(key(4), {"text": "x" * 1000})
    assert sum(path.stat().st_size for path in tmp_path.glob("*.json")) <= 5_000
    assert cache.get(key(1)) is None, "not used for longest"
    assert cache.get(key(0)), "used lately"
    assert cache.get(key(4)), "the newest"


def test_an_answer_larger_than_the_limit_is_not_kept(tmp_path):
    cache = AnswerCache(tmp_path, max_bytes=100, wait_seconds=60)
    cache.put(key(1), {"text": "x" * 1000})
    assert cache.get(key(1)) is None


def test_one_question_is_asked_by_one_at_a_time(cache, most_inside):
    assert most_inside(lambda: cache.locked(key(1)), threads=4) == 1


def test_waiting_for_the_same_question_has_an_end(tmp_path):
    one, other = (AnswerCache(tmp_path, max_bytes=1000, wait_seconds=0.05) for _ in range(2))
    with one.locked(key(1)), pytest.raises(ServiceError, match="LLM_WAIT_SECONDS"), other.locked(key(1)):
        pass
    with other.locked(key(1)):
        pass


def test_nobody_waits_for_it_longer_than_the_caller(tmp_path):
    one, other = (AnswerCache(tmp_path, max_bytes=1000, wait_seconds=600) for _ in range(2))
    locked_shortly = pytest.raises(ServiceError, match="as long as the caller waits")
    with one.locked(key(1)), time_limit(time.monotonic() + 0.05), locked_shortly, other.locked(key(1)):
        pass


def test_what_killed_processes_left_is_removed(cache, tmp_path):
    cache.put(key(1), {"text": "a"})
    left, fresh = tmp_path / "answers" / ".x.json.1", tmp_path / "answers" / ".y.json.2"
    left.write_text("{")
    fresh.write_text("{")
    os.utime(left, (1, 1))
    cache.put(key(2), {"text": "b"})
    assert (left.exists(), fresh.exists()) == (False, True)


def _write_and_read(folder, first):
    cache = AnswerCache(folder, max_bytes=20_000, wait_seconds=60)
    for number in range(first, first + 60):
        cache.put(key(number % 30), {"number": number % 30, "text": "x" * 500})
        kept = cache.get(key((number + 7) % 30))
        assert kept is None or kept["number"] == (number + 7) % 30
    return True


def test_processes_write_read_and_drop_at_the_same_time(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as executor:
        assert all(executor.map(_write_and_read, [tmp_path] * 4, range(0, 40, 10)))
    assert sum(path.stat().st_size for path in tmp_path.glob("*.json")) <= 20_000
    assert not list(tmp_path.glob(".*")), "temporary files are left"
