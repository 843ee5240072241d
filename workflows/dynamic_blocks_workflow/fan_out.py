"""Fan-out and fan-in of the dynamic blocks: the items, and their outputs in order."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from workflows.common.errors import InvalidInputError
from workflows.common.parsing import whole_number

logger = logging.getLogger(__name__)

ROWS_PER_ITEM = 1000


def plan_items(count: Any, max_children: Any) -> dict[str, int]:
    """Return how many items `count` rows make: one per full thousand, as far as the limit allows.

    Args:
        count: Runtime variable, a whole number of at least 0, also as text.
        max_children: Pipeline variable, the largest number of items.

    Returns:
        `items`, their number, and `left_out`, how many more the rows would have made.

    Raises:
        InvalidInputError: `count` is missing or is no such number.
    """
    if count is None:
        raise InvalidInputError(
            "dynamic_blocks_workflow needs the runtime variable count, the number of rows", {"count": "missing"}
        )
    number = whole_number("count", count) // ROWS_PER_ITEM
    items = min(number, whole_number("max_children", max_children))
    if items < number:
        logger.warning(
            "count %s makes %d items, of which %d are left out: max_children, a variable of this pipeline, is %d",
            *(count, number, number - items, items),
        )
    logger.info("%s rows make %d items", count, items)
    return {"items": items, "left_out": number - items}


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
    values = [output[key] for output in sorted(outputs, key=lambda output: output["index"])]
    logger.info("%d items have a %s", len(values), key)
    return values
