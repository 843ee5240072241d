"""Texts as large models write them: honest ones, and falsehoods by kind; the measure of the checks of AI blocks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

FORBIDDEN_KINDS = {"wrong_outcome", "wrong_number", "wrong_claim"}


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def passing(
    path: Path, label: str, kinds: set[str] | None, problem: Callable[[Any, str], str | None]
) -> tuple[list[str], int]:
    """Return the texts of a label (and of some kinds) in which nothing is found to be wrong, and how many there are."""
    chosen = [one for one in load(path)["texts"] if one["label"] == label and (kinds is None or one["kind"] in kinds)]
    return [one["text"] for one in chosen if problem(one.get("case"), one["text"]) is None], len(chosen)
