"""Command line: `python -m stack.models list|promote|rollback`, the versions of the survival model."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from stack.console import Console
from workflows.common.errors import WorkflowError
from workflows.common.settings import get_settings
from workflows.survival import registry
from workflows.survival.card import CARD_FILE
from workflows.survival.registry import UnusableVersionError

SPLIT, CLASSIFIER = "stratified", "model"
METRICS = ("accuracy", "roc_auc", "brier")


class RefusedError(WorkflowError):
    """What was asked for is not done; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 refused."""
    parser = argparse.ArgumentParser(prog="python -m stack.models", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="list the versions (the default)")
    promoting = commands.add_parser("promote", help="let a version serve from the next call on")
    promoting.add_argument("version")
    promoting.add_argument("--force", action="store_true", help="also where the rules rejected it")
    commands.add_parser("rollback", help="let the version serve again that was promoted before")
    parsed = parser.parse_args(arguments)
    console = Console()
    return console.run(lambda: _run(parsed, console))


def _run(parsed: argparse.Namespace, console: Console) -> int:
    models_dir = get_settings().models_dir
    if parsed.command == "promote":
        console.say(_promote(models_dir, parsed.version, parsed.force))
    elif parsed.command == "rollback":
        left, serving = registry.roll_back(models_dir)
        console.say(f"{serving} serves from the next call on; {left} does no longer")
    else:
        _list(models_dir, console)
    return 0


def _promote(models_dir: Path, name: str, force: bool) -> str:
    listed = {version.name: version for version in registry.overview(models_dir)}.get(name)
    if listed is None:
        raise RefusedError(f"there is no version {name}; the command list names them")
    if listed.status == "unusable":
        raise RefusedError(f"{name} cannot serve: {listed.note}")
    if listed.status == "rejected" and not force:
        raise RefusedError(f"{name} was rejected ({listed.note}); with --force it is promoted nevertheless")
    try:
        registry.promote(models_dir, name)
    except UnusableVersionError as error:
        raise RefusedError(f"{name} cannot serve: {error}") from error
    return f"{name} serves from the next call on"


def _list(models_dir: Path, console: Console) -> None:
    versions = registry.overview(models_dir)
    if not versions:
        console.say(f"There is no version in {models_dir}: run pipeline ml_training_and_inference")
        return
    table = Table(
        "version", "made (UTC)", "status", "rows", "accuracy", "AUC", "Brier", "since", box=None, pad_edge=False
    )
    notes = []
    for version in versions:
        has_served = version.status in {"serving", "served before"}
        table.add_row(
            version.name,
            f"{registry.made_at(version.name):%Y-%m-%d %H:%M}",
            version.status,
            str(version.metadata.get("rows", "")),
            *_figures(version.metadata),
            version.note if has_served else "",
        )
        if version.note and not has_served:
            notes.append(f"{version.name} is {version.status}: {version.note}")
    console.rich.print(table)
    console.say(f"Means over the {SPLIT} folds, on passengers left out.")
    serving = next((version.name for version in versions if version.status == "serving"), None)
    if serving and (models_dir / serving / CARD_FILE).exists():
        console.say(f"Its model card: {models_dir / serving / CARD_FILE}")
    for note in notes:
        console.say(note)


def _figures(metadata: Mapping[str, Any]) -> list[str]:
    for row in (metadata.get("metrics") or {}).get("table", []):
        if (row["split"], row["classifier"]) == (SPLIT, CLASSIFIER):
            return [f"{row[metric]:.4f}" for metric in METRICS]
    return [""] * len(METRICS)


if __name__ == "__main__":
    sys.exit(main())
