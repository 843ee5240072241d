import pytest

from workflows.common.errors import InvalidInputError
from workflows.dynamic_blocks_workflow.fan_out import in_order, make_items, plan_items


@pytest.mark.parametrize(
    ("count", "items"), [(0, 0), (999, 0), (1000, 1), (10_692, 10), ("10692", 10), (" 2000 ", 2), (3000.0, 3)]
)
def test_one_item_per_full_thousand(count, items):
    assert plan_items(count, 100) == {"items": items, "left_out": 0}


@pytest.mark.parametrize("count", [-1, "-5", "many", "", 1.5, True, [], {}, float("nan"), float("inf"), "²"])
def test_a_count_that_is_no_whole_number_is_refused(count):
    with pytest.raises(InvalidInputError, match=r"count: must be a whole number of at least 0"):
        plan_items(count, 100)


def test_a_missing_count_is_refused():
    with pytest.raises(InvalidInputError, match="count: missing"):
        plan_items(None, 100)


def test_items_beyond_the_limit_are_left_out_and_said(caplog):
    assert plan_items(100_999, 100) == {"items": 100, "left_out": 0}
    assert not caplog.records
    assert plan_items(103_000, "100") == {"items": 100, "left_out": 3}
    assert "makes 103 items, of which 3 are left out: max_children" in caplog.text


def test_outputs_come_back_in_the_order_of_the_items():
    items = make_items(12)
    assert [item["number"] for item in items] == list(range(1, 13))
    as_mage_sorts_them = sorted(items, key=lambda item: str(item["index"]))
    assert as_mage_sorts_them != items
    assert in_order(as_mage_sorts_them, "number") == list(range(1, 13))
    assert in_order([], "number") == []
