"""Print the usage and the cost of the language model per pipeline run.

Run as `python -m stack.llm_usage`.
"""

import sys
from collections.abc import Mapping

from rich.table import Table

from stack.console import Console
from workflows.ai_blocks.usage import Usage, totals
from workflows.common.settings import Settings, get_settings

MAX_ROWS = 30


def usage_table(used: Mapping[str, Usage], settings: Settings) -> Table:
    """Return a table with one row per run, the newest last, and the total of all runs. The cost requires prices."""
    columns = ("run", "answers", "from model", "from cache", "input tokens", "output tokens", "seconds", "cost")
    table = Table(*columns, box=None, pad_edge=False)
    for name, usage in list(used.items())[-MAX_ROWS:]:
        table.add_row(*_row(_title(name), usage, settings))
    table.add_row(*_row(f"total of {len(used)}", sum(used.values(), Usage()), settings), style="bold")
    return table


def _row(title: str, usage: Usage, settings: Settings) -> list[str]:
    cost = usage.cost(settings.llm_price_per_million_input_tokens, settings.llm_price_per_million_output_tokens)
    numbers = (usage.answers, usage.from_model, usage.from_cache, usage.input_tokens, usage.output_tokens)
    return [title, *map(str, numbers), f"{usage.seconds:.1f}", "" if cost is None else f"{cost:.4f}"]


def _title(name: str) -> str:
    kind, _, which = name.partition("_")
    return f"run {int(which)}" if kind == "run" else f"calls on {which}"


def main() -> int:
    """Print the table and return the exit code."""
    console = Console()
    return console.run(lambda: _print_usage(console))


def _print_usage(console: Console) -> int:
    settings = get_settings()
    usage_dir = settings.llm_dir / "usage"
    if used := totals(usage_dir):
        console.rich.print(usage_table(used, settings))
    else:
        console.say(f"The language model has not been used yet: there are no records in {usage_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
