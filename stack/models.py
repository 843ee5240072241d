"""List, promote and roll back versions of the survival model: `python -m stack.models list|promote|rollback`."""

import argparse
import sys
from datetime import UTC, datetime

from rich.table import Table

from stack.console import Console
from workflows.common.errors import WorkflowError
from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.artifact import UnusableVersionError
from workflows.ml_training_and_inference.registry import PROMOTED, REJECTED, Registry

METRICS = {"accuracy": "accuracy", "roc_auc": "AUC", "brier": "Brier"}


class RefusedError(WorkflowError):
    """A command was refused; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code: 0 for success, 1 for an error."""
    parser = argparse.ArgumentParser(prog="python -m stack.models", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="list the versions (default)")
    promote = commands.add_parser("promote", help="make a version the champion")
    promote.add_argument("version")
    promote.add_argument("--force", action="store_true", help="promote the version even if it was rejected")
    commands.add_parser("rollback", help="promote the version that served before the champion")
    parsed = parser.parse_args(arguments)
    console = Console()
    return console.run(lambda: _run(parsed, console))


def _run(parsed: argparse.Namespace, console: Console) -> int:
    settings = get_settings()
    models = Registry(settings.models_dir, settings.mlflow_tracking_uri)
    if parsed.command == "promote":
        _promote(models, parsed.version, parsed.force)
        console.say(f"{parsed.version} serves from the next call on")
    elif parsed.command == "rollback":
        previous, serving = models.roll_back()
        console.say(f"{serving} serves from the next call on, in place of {previous}")
    else:
        _print_versions(models, console)
    return 0


def _promote(models: Registry, number: str, force: bool) -> None:
    version = {str(version.version): version for version in models.versions()}.get(number)
    if version is None:
        raise RefusedError(f"there is no version {number}: make models lists all versions")
    if models.statuses()[number] == "rejected" and not force:
        raise RefusedError(f"{number} was rejected ({version.tags[REJECTED]}): add FORCE=1 to promote it anyway")
    try:
        models.promote(number)
    except UnusableVersionError as error:
        raise RefusedError(f"{number} cannot serve: {error}") from error


def _print_versions(models: Registry, console: Console) -> None:
    versions, statuses = models.versions(), models.statuses()
    if not versions:
        console.say("There is no version yet: run pipeline ml_training_and_inference")
        return
    table = Table("version", "created (UTC)", "status", *METRICS.values(), "promoted (UTC)", box=None, pad_edge=False)
    for version in versions:
        created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
        means = models.metrics(version)
        table.add_row(
            str(version.version),
            f"{created:%Y-%m-%d %H:%M}",
            statuses[str(version.version)],
            *(f"{means[f'stratified/{name}_mean']:.4f}" if means else "" for name in METRICS),
            version.tags.get(PROMOTED, "")[:16].replace("T", " "),
        )
    console.rich.print(table)
    console.say("Metrics are means over the held-out folds of the stratified split; make mlflow shows everything else.")
    for version in versions:
        if statuses[str(version.version)] == "rejected":
            console.say(f"{version.version} is rejected: {version.tags[REJECTED]}")


if __name__ == "__main__":
    sys.exit(main())
