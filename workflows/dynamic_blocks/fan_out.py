"""Fan-out and fan-in of the dynamic blocks: how many items, which, and their outputs in order."""

from collections.abc import Iterable, Mapping
from typing import Any

from workflows.common.errors import InvalidInputError

ROWS_PER_ITEM = 1000


def plan_items(count: Any, max_children: Any) -> int:
    """Return how many items `count` rows make: one per full thousand.

    Args:
        count: Runtime variable: a whole number of at least 0, or its digits as text, as a form sends it.
        max_children: Pipeline variable: the largest number of items allowed.

    Raises:
        InvalidInputError: `count` is missing or no such number, or it makes too many items.
    """
    if count is None:
        raise InvalidInputError(
            "dynamic_blocks_workflow needs the runtime variable count, the number of rows", {"count": "missing"}
        )
    number = _whole_number("count", count) // ROWS_PER_ITEM
    limit = _whole_number("max_children", max_children)
    if number > limit:
        raise InvalidInputError(
            f"count {count} makes {number} items, more than max_children allows; to run that many blocks, raise "
            "max_children in the variables of pipelines/dynamic_blocks_workflow/metadata.yaml or pass it as a "
            "runtime variable",
            {"max_children": f"{limit} is less than {number}"},
        )
    return number


def make_items(number: int) -> list[dict[str, int]]:
    """Return the items 1 to `number`, each with its place in the list."""
    return [{"index": index, "number": index + 1} for index in range(number)]


def in_order(outputs: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    """Return one value per item, in the order of the items.

    Mage hands on the outputs of more than ten children in the order 0, 1, 10, 2; the index puts them right.

    Args:
        outputs: One mapping per child, with its `index` and `key`.
        key: Which value to take.
    """
    return [output[key] for output in sorted(outputs, key=lambda output: output["index"])]


def _whole_number(name: str, value: Any) -> int:
    is_digits = isinstance(value, str) and value.strip().isascii() and value.strip().isdigit()
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    if not (is_digits or is_number) or int(value) < 0:
        raise InvalidInputError(
            "dynamic_blocks_workflow cannot use a runtime variable",
            {name: f"must be a whole number of at least 0, not {value!r}"},
        )
    return int(value)
