"""What the language model was used for and how many tokens it took, per pipeline run.

    STATE_DIR/llm/usage/
        run_00000012.jsonl        answers of pipeline run 12
        calls_2025-01-31.jsonl    answers outside a run: calls over /api/runs, blocks run by hand

`make llm-usage` sums them up.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

KEPT_FILES = 1000


@dataclass(frozen=True)
class Usage:
    """Sums over answers.

    Attributes:
        answers: How many there were.
        from_model: Those that the model worded.
        from_cache: Those that were kept from an earlier time and took no tokens.
        input_tokens: Read by the model.
        output_tokens: Written by the model.
        seconds: Spent in the model's server.
    """

    answers: int = 0
    from_model: int = 0
    from_cache: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    def cost(self, per_million_input: float | None, per_million_output: float | None) -> float | None:
        """Return the cost in the currency of the prices (each per million tokens), None without prices."""
        if per_million_input is None or per_million_output is None:
            return None
        return (self.input_tokens * per_million_input + self.output_tokens * per_million_output) / 1e6

    def plus(self, other: "Usage") -> "Usage":
        """Return the sums of both."""
        return Usage(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Usage":
        """Return the usage of one answer, a line as `record` writes it."""
        is_model = int(answer["source"] == "model")
        if answer["cached"]:
            return cls(answers=1, from_model=is_model, from_cache=1)
        tokens = int(answer["input_tokens"]), int(answer["output_tokens"])
        return cls(1, is_model, 0, *tokens, float(answer["seconds"]))


def record(folder: Path, run: object, answer: Mapping[str, Any]) -> Usage:
    """Add an answer to its run, and return the sums of that run.

    Args:
        folder: Of the files; made where it is missing.
        run: Id of the pipeline run; anything but a whole number is no run.
        answer: JSON with at least what `Usage.of` reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = folder / (f"run_{run:08d}.jsonl" if isinstance(run, int) else f"calls_{now:%Y-%m-%d}.jsonl")
    is_new = not path.exists()
    line = json.dumps({"time_utc": now.isoformat(timespec="milliseconds"), **answer}, ensure_ascii=False) + "\n"
    # One write of a few hundred bytes in append mode: lines of several processes do not mix.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
    if is_new:
        _drop_old(folder)
    return total(path)


def total(path: Path) -> Usage:
    """Sum up one file; a line that cannot be read (the process was killed while writing it) is left out.

    A file that another process has dropped sums up to nothing.
    """
    return reduce(Usage.plus, map(Usage.of, _lines(path)), Usage())


def totals(folder: Path) -> dict[str, Usage]:
    """Return the sums of each file by its name without ending, the least lately used first."""
    return {path.stem: total(path) for path in _by_time(folder)}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict) and {"source", "cached", "input_tokens", "output_tokens", "seconds"} <= set(answer):
            yield answer


def _drop_old(folder: Path) -> None:
    for path in _by_time(folder)[:-KEPT_FILES]:
        path.unlink(missing_ok=True)


def _by_time(folder: Path) -> list[Path]:
    """Return the files, the least lately used first; other processes may drop some meanwhile."""
    used = []
    for path in folder.glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            used.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(used)]
