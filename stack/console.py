"""What the terminal shows: steps with their time, a live table where there is a terminal, lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator

from pydantic import ValidationError
from rich.console import Console as RichConsole
from rich.live import Live
from rich.table import Table


class Console:
    """Progress of the stack on standard output."""

    def __init__(self) -> None:
        # Where there is no terminal to ask for its width, wide enough for the tables.
        width = None if sys.stdout.isatty() else 140
        self.rich = RichConsole(highlight=False, soft_wrap=True, width=width)
        self._started = time.monotonic()

    def say(self, text: str = "") -> None:
        """Write a line."""
        self.rich.print(text, markup=False)

    def say_wrong_settings(self, error: ValidationError) -> None:
        """Write a line for each setting that is wrong, without its value."""
        for detail in error.errors(include_url=False, include_input=False):
            self.say(f"Error: setting {'.'.join(map(str, detail['loc'])).upper()}: {detail['msg']}")

    def heading(self, text: str) -> None:
        """Write a heading."""
        self.rich.print(f"\n{text}", style="bold", markup=False)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what begins, and how long it took when it has ended."""
        begin = time.monotonic()
        self.say(f"[{begin - self._started:5.0f} s] {text} ...")
        yield
        now = time.monotonic()
        self.say(f"[{now - self._started:5.0f} s] {text}: done in {now - begin:.1f} s")

    def progress(self) -> "Progress":
        """Return a display of the runs that are followed."""
        return Progress(self.rich, self._started)


class Progress:
    """The state of the followed runs: a table redrawn in place, or a line at each change."""

    def __init__(self, rich: RichConsole, started: float):
        self._rich = rich
        self._started = started
        self._live = Live(console=rich, auto_refresh=False) if rich.is_terminal else None
        self._last: dict[str, str] = {}

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, rows: dict[str, tuple[str, str]]) -> None:
        """Show `{name: (state, seconds)}`."""
        if self._live:
            table = Table("pipeline run", "state", "seconds", box=None, pad_edge=False)
            for name, (state, seconds) in rows.items():
                table.add_row(name, state, seconds)
            self._live.update(table, refresh=True)
            return
        for name, (state, seconds) in rows.items():
            if self._last.get(name) != state:
                self._last[name] = state
                now = time.monotonic() - self._started
                self._rich.print(f"[{now:5.0f} s]   {name}: {state} ({seconds} s)", markup=False)
