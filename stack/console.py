"""Output of the command line: steps with their duration, errors, and the progress of pipeline runs."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from pydantic import ValidationError
from rich.console import Console as RichConsole
from rich.live import Live
from rich.table import Table

from workflows.common.errors import WorkflowError
from workflows.common.processes import PRIVATE_UMASK

# In place of pydantic's words, which do not say that a setting's text is read as JSON.
_MESSAGES = {"dict_type": 'has to be a JSON object with double quotes, such as {"name": "value"}'}


class Console:
    """Writes to standard output."""

    def __init__(self) -> None:
        # Not rich's own answer, which a variable can change: secrets are printed to a terminal only.
        self.is_terminal = sys.stdout.isatty()
        # Without a terminal, rich assumes 80 columns, which is too narrow for the tables.
        width = None if self.is_terminal else 140
        self.rich = RichConsole(highlight=False, soft_wrap=True, width=width)
        self._started = time.monotonic()

    def run(self, command: Callable[[], int]) -> int:
        """Run a command and return its exit code; after an expected error, print it and return 1."""
        os.umask(PRIVATE_UMASK)
        try:
            return command()
        except ValidationError as error:
            # Settings: one line each, without the value, which may be a secret.
            for detail in error.errors(include_url=False, include_input=False):
                message = _MESSAGES.get(detail["type"], detail["msg"])
                self.say(f"Error: setting {'.'.join(map(str, detail['loc'])).upper()}: {message}")
        except (WorkflowError, OSError) as error:
            self.say(f"Error: {error}")
        return 1

    def say(self, text: str = "") -> None:
        """Print a line."""
        self.rich.print(text, markup=False)

    def heading(self, text: str) -> None:
        """Print a heading."""
        self.rich.print(f"\n{text}", style="bold", markup=False)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Print the name of a step before the body, and its duration after it."""
        begin = time.monotonic()
        self.say(f"[{begin - self._started:5.0f} s] {text} ...")
        yield
        now = time.monotonic()
        self.say(f"[{now - self._started:5.0f} s] {text}: done in {now - begin:.1f} s")

    def progress(self) -> "Progress":
        """Return a display of pipeline runs."""
        return Progress(self.rich, self._started)


class Progress:
    """The states of pipeline runs: a table that is updated in place or, without a terminal, one line per change."""

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
        """Show runs, given as `{name: (state, seconds)}`."""
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
