"""What the language model was used for, per pipeline run: `python -m stack.llm_usage`."""

from collections.abc import Mapping
from functools import reduce

from rich.table import Table

from stack.console import Console
from workflows.ai_blocks.usage import Usage, totals
from workflows.common.settings import Settings, get_settings

SHOWN_FILES = 30


def usage_table(used: Mapping[str, Usage], settings: Settings) -> Table:
    """Return a table with a line a run, the newest last, and the sum of all; with cost where prices are set."""
    columns = ("run", "answers", "of the model", "kept before", "tokens read", "tokens written", "seconds", "cost")
    table = Table(*columns, box=None, pad_edge=False)
    for name, usage in list(used.items())[-SHOWN_FILES:]:
        table.add_row(*_row(_title(name), usage, settings))
    table.add_row(*_row(f"all {len(used)}", reduce(Usage.plus, used.values(), Usage()), settings), style="bold")
    return table


def _row(title: str, usage: Usage, settings: Settings) -> list[str]:
    cost = usage.cost(settings.llm_price_per_million_input_tokens, settings.llm_price_per_million_output_tokens)
    numbers = (usage.answers, usage.from_model, usage.from_cache, usage.input_tokens, usage.output_tokens)
    return [title, *map(str, numbers), f"{usage.seconds:.1f}", "" if cost is None else f"{cost:.4f}"]


def _title(name: str) -> str:
    kind, _, which = name.partition("_")
    return f"run {int(which)}" if kind == "run" else f"calls of {which}"


def main() -> None:
    """Print the table."""
    settings = get_settings()
    console = Console()
    used = totals(settings.llm_dir / "usage")
    if used:
        console.rich.print(usage_table(used, settings))
    else:
        console.say(f"The language model was not used yet; {settings.llm_dir / 'usage'} is empty")


if __name__ == "__main__":
    main()
