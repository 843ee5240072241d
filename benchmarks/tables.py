"""What a benchmark prints: a table in Markdown with median and spread, as it stands in docs/benchmarks.md."""

import statistics
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def markdown_table(*columns: str, title: str | None = None) -> Table:
    """Return a table that rich prints as Markdown."""
    table = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table


def show(table: Table, console: Console) -> None:
    """Print a table in its full width, whatever that of the terminal is."""
    console.print(table, width=400)


def spread(values: Sequence[float], digits: int = 1) -> tuple[str, str]:
    """Return the median, and the smallest and the largest value."""
    return f"{statistics.median(values):.{digits}f}", f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def ratio(values: Sequence[float], peer: Sequence[float]) -> str:
    """Return the median of values that were measured in the same rounds as the peer's, each divided by the peer's."""
    return f"{statistics.median(values) / statistics.median(peer):.2f}"
