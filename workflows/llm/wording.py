"""How facts write classes, ports, shares and lists."""

from collections.abc import Sequence

CLASSES = {1: "first", 2: "second", 3: "third"}
PORTS = {"S": "Southampton", "C": "Cherbourg", "Q": "Queenstown"}


def percent(share: float) -> str:
    """Write a share as whole percent, between 1 and 99; one decimal where rounding would hide the side of 50."""
    if 0.495 <= share < 0.5 or 0.5 < share < 0.505:
        return f"{100 * share:.1f} %"
    return f"{min(99, max(1, round(100 * share)))} %"


def listed(words: Sequence[str]) -> str:
    """Join as in a sentence: "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
