"""How facts write shares and lists, and patterns (see `workflows.ai_blocks.grounding`) of how texts may."""

from collections.abc import Sequence


def percent(share: float) -> str:
    """Write a share as whole percent; in words where rounding would make it none, half or all of them."""
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


def percent_pattern(share: float) -> str:
    """Return the pattern of the ways to write a share as `percent` does: where it is rounded, "about" is true."""
    if share in {0, 1} or not percent(share)[0].isdigit():
        return percent(share)
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
