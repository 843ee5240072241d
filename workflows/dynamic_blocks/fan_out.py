"""Fan-out and fan-in of the dynamic blocks: the items, and their outputs in order."""

from collections.abc import Iterable, Mapping
from typing import Any

from workflows.common.errors import InvalidInputError
from workflows.common.parsing import whole_number

ROWS_PER_ITEM = 1000


def plan_items(count: Any, max_children: Any) -> int:
    """Return how many items `count` rows make: one per full thousand.

    Args:
        count: Runtime variable, a whole number of at least 0, also as text.
        max_children: Pipeline variable, the largest number of items.

    Raises:
        InvalidInputError: `count` is missing or is no such number, or it makes too many items.
    """
    if count is None:
        raise InvalidInputError(
            "dynamic_blocks_workflow needs the runtime variable count, the number of rows", {"count": "missing"}
        )
    number = whole_number("count", count) // ROWS_PER_ITEM
    limit = whole_number("max_children", max_children)
    if number > limit:
        raise InvalidInputError(
            f"count {count} makes {number} items, more than max_children allows; to run that many blocks, raise "
            "max_children in the variables of pipelines/dynamic_blocks_workflow/metadata.yaml or pass it as a "
            "runtime variable",
            {"max_children": f"{limit} is less than {number}"},
        )
    return number


def make_items(number: int) -> list[dict[str, int]]:
    """Return the items 1 to `number`, each with its index in the list."""
    return [{"index": index, "number": index + 1} for index in range(number)]


def in_order(outputs: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    """Return one value per item, in the order of the items.

    Mage passes on the outputs of more than ten children in the order 0, 1, 10, 2.

    Args:
        outputs: One mapping per child, with its `index` and `key`.
        key: Key of the value to take.
    """
    return [output[key] for output in sorted(outputs, key=lambda output: output["index"])]
