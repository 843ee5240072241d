"""Fan out with Prefect: a flow that maps a task over the items, in threads of one process.

Run as `python -m benchmarks.peer_prefect ITEMS RUNS`; prints the seconds of each run as a JSON list. The first one is
cold: it starts Prefect's own server and makes its database.
"""

import json
import sys
import time

from prefect import flow, task

from benchmarks.peer_task import ask

fun_fact = task(ask)


@flow
def fan_out(count: int) -> list[str]:
    return fun_fact.map(list(range(count))).result()


if __name__ == "__main__":
    count, runs = map(int, sys.argv[1:])
    seconds = []
    for _ in range(runs):
        started = time.monotonic()
        assert len(fan_out(count)) == count
        seconds.append(time.monotonic() - started)
    print(json.dumps(seconds))  # noqa: T201
