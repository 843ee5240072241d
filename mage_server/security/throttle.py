"""Make guessing passwords slow: after repeated failures, an account and an address have to wait, longer each time."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MAX_KEYS = 10_000
# A failure counts for this long after the last one.
FORGET_SECONDS = 3600.0


@dataclass(frozen=True)
class Limit:
    """How many failures are free, and the longest wait after more of them, in seconds."""

    free_failures: int
    longest_wait_seconds: float


# Nobody may lock the owner out for long from elsewhere, or everybody behind one proxy: these two limits wait less.
PAIR = Limit(5, 300.0)
ACCOUNT = Limit(30, 10.0)
ADDRESS = Limit(20, 30.0)


@dataclass
class _Failures:
    count: int
    last_at: float


class Throttle:
    """Failed sign-ins by account and address, in memory.

    Args:
        clock: Returns the time in seconds.
        max_keys: Number of accounts and addresses that are remembered; the oldest are forgotten.
    """

    def __init__(self, clock: Callable[[], float], max_keys: int = MAX_KEYS):
        self._clock = clock
        self._max_keys = max_keys
        self._failures: OrderedDict[tuple[str, ...], _Failures] = OrderedDict()

    def wait_seconds(self, account: str, address: str) -> float:
        """Return how long this account must wait at this address before the next attempt; 0 if it need not."""
        return max(self._wait(key, limit) for key, limit in _keys(account, address))

    def failed(self, account: str, address: str) -> None:
        """Note a failure. Also before the attempt ends, so that attempts at the same time count."""
        for key, _ in _keys(account, address):
            found = self._failures.pop(key, None)
            count = found.count if found and self._clock() - found.last_at < FORGET_SECONDS else 0
            self._failures[key] = _Failures(count + 1, self._clock())
        while len(self._failures) > self._max_keys:
            self._failures.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        """Forget the failures of an account at an address, and one of those that count for either."""
        pair, *others = (key for key, _ in _keys(account, address))
        self._failures.pop(pair, None)
        for key in others:
            if found := self._failures.get(key):
                found.count -= 1

    def _wait(self, key: tuple[str, ...], limit: Limit) -> float:
        found = self._failures.get(key)
        if found is None or found.count < limit.free_failures:
            return 0.0
        wait = min(2.0 ** min(found.count - limit.free_failures, 30), limit.longest_wait_seconds)
        return max(0.0, found.last_at + wait - self._clock())


def _keys(account: str, address: str) -> Iterable[tuple[tuple[str, ...], Limit]]:
    name = account.strip().lower()[:255]
    return (("pair", name, address), PAIR), (("account", name), ACCOUNT), (("address", address), ADDRESS)
