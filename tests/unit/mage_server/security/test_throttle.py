from mage_server.security.throttle import ACCOUNT, ADDRESS, FORGET_SECONDS, PAIR, Throttle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def failing(times: int, clock: Clock, account: str = "a", address: str = "1") -> Throttle:
    throttle = Throttle(clock)
    for _ in range(times):
        throttle.failed(account, address)
    return throttle


def test_the_first_failures_are_free():
    assert failing(PAIR.free_failures - 1, Clock()).wait_seconds("a", "1") == 0
    assert failing(PAIR.free_failures, Clock()).wait_seconds("a", "1") == 1


def test_each_failure_doubles_the_wait_up_to_a_limit():
    waits = [failing(PAIR.free_failures + more, Clock()).wait_seconds("a", "1") for more in range(12)]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == PAIR.longest_wait_seconds


def test_the_wait_passes():
    clock = Clock()
    throttle = failing(PAIR.free_failures, clock)
    clock.now = 1.0
    assert throttle.wait_seconds("a", "1") == 0


def test_others_cannot_lock_an_account_for_long():
    clock = Clock()
    throttle = Throttle(clock)
    for number in range(1000):
        throttle.failed("owner", f"address {number}")
    assert 0 < throttle.wait_seconds("OWNER ", "own address") <= ACCOUNT.longest_wait_seconds
    assert throttle.wait_seconds("other", "own address") == 0


def test_one_address_cannot_try_many_accounts():
    throttle = Throttle(Clock())
    for number in range(ADDRESS.free_failures + 1):
        throttle.failed(f"account {number}", "1")
    assert throttle.wait_seconds("new", "1") > 0


def test_success_is_no_failure():
    throttle = failing(PAIR.free_failures, Clock())
    throttle.succeeded("a", "1")
    assert throttle.wait_seconds("a", "1") == 0


def test_failures_are_forgotten():
    clock = Clock()
    throttle = failing(100, clock)
    clock.now = FORGET_SECONDS + 1
    throttle.failed("a", "1")
    assert throttle.wait_seconds("a", "1") == 0


def test_memory_is_bounded():
    throttle = Throttle(Clock(), max_keys=30)
    for number in range(1000):
        throttle.failed(f"account {number}", f"address {number}")
    assert len(throttle._failures) == 30
