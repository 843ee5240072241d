"""Fan out with Dagster: a job with dynamic outputs, one op an item.

Run as `python -m benchmarks.peer_dagster ITEMS RUNS EXECUTOR`, EXECUTOR `in_process` or `multiprocess` (a process an
op, as many at a time as there are cores); prints the seconds of each run as a JSON list. Its
database is in DAGSTER_HOME.
"""

import json
import os
import sys
import time

from dagster import (
    DagsterInstance,
    DynamicOut,
    DynamicOutput,
    JobDefinition,
    execute_job,
    graph,
    in_process_executor,
    multiprocess_executor,
    op,
    reconstructable,
)

from benchmarks.peer_task import ask


@op(out=DynamicOut(int))
def create_items():
    for number in range(int(os.environ["FAN_OUT_ITEMS"])):
        yield DynamicOutput(number, mapping_key=str(number))


@op
def fun_fact(number: int) -> str:
    return ask(number)


@op
def collect(facts: list[str]) -> int:
    return len(facts)


@graph
def fan_out() -> None:
    collect(create_items().map(fun_fact).collect())


def in_process() -> JobDefinition:
    return fan_out.to_job("in_process", executor_def=in_process_executor)


def multiprocess() -> JobDefinition:
    return fan_out.to_job("multiprocess", executor_def=multiprocess_executor)


if __name__ == "__main__":
    count, runs = map(int, sys.argv[1:3])
    os.environ["FAN_OUT_ITEMS"] = str(count)
    # Each process of an op imports this module by its name.
    from benchmarks import peer_dagster

    seconds = []
    for _ in range(runs):
        with DagsterInstance.get() as instance:
            started = time.monotonic()
            with execute_job(reconstructable(getattr(peer_dagster, sys.argv[3])), instance) as done:
                assert done.success
                assert done.output_for_node("collect") == count
            seconds.append(time.monotonic() - started)
    print(json.dumps(seconds))  # noqa: T201
