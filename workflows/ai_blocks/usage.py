"""Tokens that the language model took, per pipeline run.

    STATE_DIR/llm/usage/
        run_00000012.jsonl        answers of pipeline run 12
        calls_2025-01-31.jsonl    answers outside of a run: calls over /api/runs, blocks run in the editor

`make llm-usage` prints the totals.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workflows.common.retention import Retention, remove_old

KEPT_FILES = 1000


@dataclass(frozen=True)
class Usage:
    """Totals over answers."""

    answers: int = 0
    from_model: int = 0  # The others were made from the facts.
    from_cache: int = 0  # Answers that were reused and took no tokens.
    input_tokens: int = 0  # Read by the model.
    output_tokens: int = 0  # Written by the model.
    seconds: float = 0.0  # Spent in the model's server.

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def cost(self, per_million_input: float | None, per_million_output: float | None) -> float | None:
        """Return the cost in the currency of the prices (each per million tokens), None without prices."""
        if per_million_input is None or per_million_output is None:
            return None
        return (self.input_tokens * per_million_input + self.output_tokens * per_million_output) / 1e6

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Usage":
        """Return the usage of one answer, a line as `record` writes it."""
        is_model, is_cached = answer["source"] == "model", bool(answer["cached"])
        spent = (int(answer["input_tokens"]), int(answer["output_tokens"]), float(answer["seconds"]))
        return cls(1, int(is_model), int(is_cached), *((0, 0, 0.0) if is_cached else spent))


def record(folder: Path, pipeline_run_id: int | None, answer: Mapping[str, Any]) -> None:
    """Add an answer to its run.

    Args:
        folder: Folder of the files; created where it is missing.
        pipeline_run_id: Id of the pipeline run, None outside of a run. Callers of /api/runs may send anything here.
        answer: JSON with at least what `Usage.of` reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    is_run = isinstance(pipeline_run_id, int)
    path = folder / (f"run_{pipeline_run_id:08d}.jsonl" if is_run else f"calls_{now:%Y-%m-%d}.jsonl")
    is_new = not path.exists()
    line = json.dumps({"time_utc": now.isoformat(timespec="milliseconds"), **answer}, ensure_ascii=False) + "\n"
    # One unbuffered write in append mode: lines of several processes do not mix.
    with path.open("ab", buffering=0) as file:
        file.write(line.encode())
    if is_new:
        remove_old(folder.glob("*.jsonl"), Retention(keep=KEPT_FILES))


def total(path: Path) -> Usage:
    """Return the totals of one file; a missing file and lines that cannot be read count as nothing."""
    used = Usage()
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            # A process that was killed leaves half a line.
            with contextlib.suppress(ValueError, LookupError, TypeError):
                used += Usage.of(json.loads(line))
    return used


def totals(folder: Path) -> dict[str, Usage]:
    """Return the totals of each file by its name without ending, the least recently used first."""
    used = []
    for path in folder.glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            used.append((path.stat().st_mtime_ns, path))
    return {path.stem: total(path) for _, path in sorted(used)}
