"""List, promote and roll back versions of the survival model: `python -m stack.models list|promote|rollback`."""

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
    """A command was refused; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code: 0 for success, 1 for an error."""
    parser = argparse.ArgumentParser(prog="python -m stack.models", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="list the versions (default)")
    promote = commands.add_parser("promote", help="make a version the serving one")
    promote.add_argument("version")
    promote.add_argument("--force", action="store_true", help="promote the version even if it was rejected")
    commands.add_parser("rollback", help="promote the version that served before the present one")
    parsed = parser.parse_args(arguments)
    console = Console()
    return console.run(lambda: _run(parsed, console))


def _run(parsed: argparse.Namespace, console: Console) -> int:
    models_dir = get_settings().models_dir
    if parsed.command == "promote":
        _promote(models_dir, parsed.version, parsed.force)
        console.say(f"{parsed.version} serves from the next call on")
    elif parsed.command == "rollback":
        previous, serving = registry.roll_back(models_dir)
        console.say(f"{serving} serves from the next call on, in place of {previous}")
    else:
        _print_versions(models_dir, console)
    return 0


def _promote(models_dir: Path, name: str, force: bool) -> None:
    version = {version.name: version for version in registry.list_versions(models_dir)}.get(name)
    if version is None:
        raise RefusedError(f"there is no version {name}: the command list shows all versions")
    if version.status == "rejected" and not force:
        raise RefusedError(f"{name} was rejected ({version.note}): use --force to promote it anyway")
    try:
        registry.promote(models_dir, name)
    except UnusableVersionError as error:
        raise RefusedError(f"{name} cannot serve: {error}") from error


def _print_versions(models_dir: Path, console: Console) -> None:
    versions = registry.list_versions(models_dir)
    if not versions:
        console.say(f"There is no version in {models_dir}: run pipeline ml_training_and_inference")
        return
    table = Table(
        "version", "created (UTC)", "status", "rows", "accuracy", "AUC", "Brier", "since", box=None, pad_edge=False
    )
    notes = []
    for version in versions:
        has_served = version.status in {"serving", "served before"}
        table.add_row(
            version.name,
            f"{registry.created_at(version.name):%Y-%m-%d %H:%M}",
            version.status,
            str(version.metadata.get("rows", "")),
            *_metrics(version.metadata),
            version.note if has_served else "",
        )
        if version.note and not has_served:
            notes.append(f"{version.name} is {version.status}: {version.note}")
    console.rich.print(table)
    console.say(f"Metrics are means over the held-out folds of the {SPLIT} split.")
    serving = next((version.name for version in versions if version.status == "serving"), None)
    if serving and (models_dir / serving / CARD_FILE).exists():
        console.say(f"Model card of the serving version: {models_dir / serving / CARD_FILE}")
    for note in notes:
        console.say(note)


def _metrics(metadata: Mapping[str, Any]) -> list[str]:
    for row in (metadata.get("metrics") or {}).get("table", []):
        if (row["split"], row["classifier"]) == (SPLIT, CLASSIFIER):
            return [f"{row[metric]:.4f}" for metric in METRICS]
    return [""] * len(METRICS)


if __name__ == "__main__":
    sys.exit(main())
