"""How facts write classes, ports, shares and lists, and patterns (see `workflows.llm.grounding`) of how texts may."""

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


def percent_pattern(share: float) -> str:
    """Return the pattern of the ways to write a share as `percent` does: it is rounded, so "about" is true."""
    small = "only|just|merely|a mere" if share < 0.5 else "a full"
    return f"[an estimated] [{small}] [about|around|roughly|approximately] {percent(share)}"


def likelihood(share: float) -> str:
    """Return the pattern of the words that say how likely an outcome is; none where it is close, or not likely."""
    if share < 0.55:
        return ""
    return "(very|most|quite) likely|likely|probably" if share >= 0.85 else "most likely|likely|probably"


def size_of_chance(share: float) -> str:
    """Return the pattern of the adjectives that fit a chance; none where it is neither small nor great."""
    if share <= 0.25:
        return "low|small|slim|poor"
    return "high|good|great|strong" if share >= 0.75 else ""
