"""Numbers and lists in sentences."""

from collections.abc import Sequence


def percent(share: float) -> str:
    """Write a share as whole percent; in words where rounding would make it none, half or all."""
    if 0 < share <= 0.005:
        return "less than 1 %"
    if 0.495 <= share < 0.5:
        return "just below 50 %"
    if 0.5 < share <= 0.505:
        return "just above 50 %"
    if 0.995 <= share < 1:
        return "more than 99 %"
    return f"{round(100 * share)} %"


def listed(words: Sequence[str]) -> str:
    """Join as in a sentence: "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
