"""Runs of the chain, and what must hold of them and of what they wrote, whatever was killed."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import duckdb

from stack.demo import GRAPH, is_one_missing
from stack.launch import Stack
from stack.mage_client import MageError, children, wait_until
from stack.mage_database import DatabaseError, PipelineRun
from tests.up import Up
from workflows.llm_inference.framework import newest_framework
from workflows.ml_training_and_inference.champion import load_champion
from workflows.ml_training_and_inference.registry import Registry

# A new server and scheduler, the retries of a block, and the chain itself.
SETTLE_SECONDS = 420


def now() -> datetime:
    """Mage's database keeps the seconds of a time."""
    return datetime.now(UTC).replace(microsecond=0)


def runs_since(stack: Stack, moment: datetime, limit: int = 30) -> list[PipelineRun]:
    runs = [run for pipeline in GRAPH.pipelines for run in stack.database.runs(pipeline, limit)]
    runs += [run for product in GRAPH.data_products for run in stack.database.refreshes(product, limit)]
    return [run for run in runs if run.created_at >= moment]


def has_settled(stack: Stack, moment: datetime) -> bool:
    """Whether all runs have ended, and each completed one has started what it starts."""
    try:
        runs = runs_since(stack, moment)
    except DatabaseError:
        return False
    return all(run.has_ended for run in runs) and not is_one_missing(runs)


def start_run(up: Up, pipeline: str) -> tuple[Stack, PipelineRun]:
    """Start a run, however often the server is down."""

    def started() -> tuple[Stack, PipelineRun] | None:
        stack = up.started_again()
        try:
            return stack, stack.start_run(pipeline)
        except (MageError, DatabaseError):
            return None

    return wait_until(started, SETTLE_SECONDS)


def assert_whole(stack: Stack, runs: Sequence[PipelineRun]) -> None:
    """Check that nothing is doubled, and that all that was written can be read whole."""
    for run in runs:
        names = [block.block for block in run.blocks]
        assert len(names) == len(set(names)), f"blocks of {run.pipeline} #{run.id} are doubled: {names}"
        started = Counter(child.pipeline for child in children(runs, run) if child.status == "completed")
        assert all(count == 1 for count in started.values()), f"{run.pipeline} #{run.id} started {started}"
    settings = stack.settings
    with duckdb.connect(str(settings.state_dir / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.sql("SELECT count(*), sum(employeeCount) FROM raw_companies").fetchall() == [(12, 35_000)]
    models = Registry(settings.models_dir)
    versions = {str(version.version): models.load(version) for version in models.versions()}
    champion = load_champion(settings.models_dir)
    assert versions[champion.name].run_id == champion.run_id
    assert newest_framework(settings.state_dir / "frameworks").groups
    for path in (settings.llm_dir / "answers").glob("*.json"):
        assert json.loads(path.read_text()), path
