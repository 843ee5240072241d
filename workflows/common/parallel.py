"""Compute with more than one core where threads would wait for each other."""

import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(function: Callable[[Item], Result], items: Sequence[Item], processes: int) -> list[Result]:
    """Return the result of each item, in order; each process computes an equal number of them.

    The other processes are forked from this one, so that they import nothing; they end with their share, also if this
    one is killed. Where forking is not safe, as on macOS, this process computes all.

    Args:
        function: What is called; it may be a closure. Its results are pickled.
        items: Its arguments, which take about the same time each.
        processes: Number of processes, with this one.
    """
    if sys.platform != "linux":
        processes = 1
    context = multiprocessing.get_context("fork")
    shares = [items[start::processes] for start in range(processes)]

    def compute(share: Sequence[Item], connection: Connection) -> None:
        # This process computes the share again, and raises its error.
        with contextlib.suppress(Exception):
            connection.send([function(item) for item in share])

    others = []
    for share in shares[1:]:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=compute, args=(share, sender))
        process.start()
        # The child's copy is then the only one: its end is the end of the pipe.
        sender.close()
        others.append((process, receiver))
    results: list[list[Result]] = []
    try:
        results.append([function(item) for item in shares[0]])
        for (_, receiver), share in zip(others, shares[1:], strict=True):
            try:
                results.append(receiver.recv())
            except EOFError:
                results.append([function(item) for item in share])
    finally:
        for process, receiver in others:
            receiver.close()
            process.kill()
            process.join()
    return [results[position % processes][position // processes] for position in range(len(items))]
