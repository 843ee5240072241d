import os
import sys

import pytest

from workflows.common.parallel import map_in_processes

PARENT = os.getpid()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process computes all")


def test_each_process_computes_its_share_and_results_keep_their_order() -> None:
    results = map_in_processes(lambda item: (item * item, os.getpid()), range(7), 3)
    assert [square for square, _ in results] == [item * item for item in range(7)]
    pids = [pid for _, pid in results]
    assert pids == [pids[position % 3] for position in range(7)]
    assert len(set(pids)) == 3
    assert pids[0] == PARENT


def test_a_share_whose_process_dies_is_computed_here() -> None:
    def compute(item: int) -> int:
        if item == 1 and os.getpid() != PARENT:
            os._exit(9)
        return item

    assert map_in_processes(compute, range(4), 2) == [0, 1, 2, 3]


@pytest.mark.parametrize("position", [0, 1])
def test_an_error_is_that_of_the_function(position: int) -> None:
    def compute(item: int) -> None:
        if item == position:
            raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match=f"item {position}"):
        map_in_processes(compute, range(2), 2)


def test_fewer_items_than_processes() -> None:
    assert map_in_processes(str, [1], 3) == ["1"]
    assert map_in_processes(str, [], 3) == []
