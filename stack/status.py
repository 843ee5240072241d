"""Say what runs with a state folder, whether the scheduler works, and how large everything is.

Run as `python -m stack.status`.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from mage_server.heartbeat import heartbeat_age_seconds
from stack.console import Console
from stack.mage_process import record_path
from workflows.common.local_services import running_services
from workflows.common.processes import recorded_process
from workflows.common.settings import Settings, get_settings

# With less than this, runs begin to fail.
FULL_BYTES = 100_000_000


def main() -> int:
    """Print the status; exit with 1 if Mage does not run, its scheduler does not tick, or the disk is full."""
    console = Console()
    return console.run(lambda: _status(get_settings(), console))


def _status(settings: Settings, console: Console) -> int:
    mage, age = recorded_process(record_path(settings)), heartbeat_age_seconds()
    ticks = age is not None and age < settings.scheduler_stale_seconds
    console.say(f"State folder  {settings.state_dir}")
    console.say(f"Mage          {f'runs, process {mage.pid}' if mage else 'does not run'}")
    if mage:
        last = "has not ticked yet" if age is None else f"last tick {age:.0f} s ago"
        console.say(f"Scheduler     {'works' if ticks else 'DOES NOT WORK'}, {last}")
    for name, url in running_services():
        console.say(f"{name:13} {url}")
    folders = (settings.state_dir, *settings.state_dir.parents)
    free_bytes = shutil.disk_usage(next(folder for folder in folders if folder.exists())).free
    is_full = free_bytes < FULL_BYTES
    console.say(f"Disk          {'FULL, ' if is_full else ''}{free_bytes / 1e9:.1f} GB free")
    table = Table("what", "MB", "files", box=None, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    for name, size_bytes, count in sizes(settings.state_dir):
        table.add_row(name, f"{size_bytes / 1e6:,.1f}", f"{count:,}")
    console.rich.print(table)
    return 0 if mage and ticks and not is_full else 1


def sizes(state_dir: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, bytes and number of files of each part of a state folder, and the whole at the end."""
    parts: dict[str, list[int]] = {}
    for path in state_dir.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                parts.setdefault(_part_of(path.relative_to(state_dir)), []).append(path.stat().st_size)
        except FileNotFoundError:
            continue
    for name, found in sorted(parts.items()):
        yield name, sum(found), len(found)
    yield "all", sum(map(sum, parts.values())), sum(map(len, parts.values()))


def _part_of(path: Path) -> str:
    """Name the part that a file of a state folder belongs to."""
    if path.parts[0] == "mage":
        if ".variables" in path.parts:
            return "block outputs"
        return "block logs" if ".logs" in path.parts else "Mage's database"
    return path.parts[0] if len(path.parts) > 1 else path.name


if __name__ == "__main__":
    sys.exit(main())
