"""A training killed at any point leaves the old champion or the new one, whole, and the next training completes."""

import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.training import POINTS, train
from workflows.ml_training_and_inference.champion import load_champion
from workflows.ml_training_and_inference.registry import Registry

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.faults.training"])
SECONDS = 120
RANDOM_ROUNDS = 3


def run(models_dir: Path, change: int, point: str | None = None, kill_after_seconds: float | None = None) -> int:
    """Train in a process of its own, and return its exit code."""
    process = PROCESSES.Process(target=train, args=(models_dir, change, point))
    process.start()
    if kill_after_seconds is not None:
        process.join(kill_after_seconds)
        process.kill()
    process.join(SECONDS)
    assert process.exitcode is not None
    return process.exitcode


def assert_old_or_new(models_dir: Path) -> None:
    """Check MLflow's champion and this machine's, as another process finds them."""
    models = Registry(models_dir)
    numbers = {str(version.version) for version in models.versions()}
    kept = load_champion(models_dir).name
    champion = models.champion()
    assert champion is not None
    assert {kept, models.load(champion).name} <= numbers
    # What the server's watch does.
    models.refresh()
    assert load_champion(models_dir).name == str(champion.version)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A folder with a champion, and how long its training took."""
    models_dir = tmp_path_factory.mktemp("models")
    started = time.monotonic()
    assert run(models_dir, 0) == 0
    return models_dir, time.monotonic() - started


@pytest.mark.timeout(900)
def test_killed_at_every_point(trained: tuple[Path, float]) -> None:
    models_dir, _ = trained
    for change, point in enumerate(POINTS, start=1):
        assert run(models_dir, change, point) == -signal.SIGKILL, point
        assert_old_or_new(models_dir)
    # The next training completes; no version is there twice, and each one is whole.
    before = load_champion(models_dir).name
    assert run(models_dir, len(POINTS) + 1) == 0
    assert load_champion(models_dir).name != before
    models = Registry(models_dir)
    versions = models.versions()
    assert len({version.tags["fingerprint"] for version in versions}) == len(versions)
    assert all(models.load(version) for version in versions)


@pytest.mark.timeout(900)
def test_killed_at_any_time(trained: tuple[Path, float]) -> None:
    models_dir, seconds = trained
    for change in range(100, 100 + RANDOM_ROUNDS):
        run(models_dir, change, kill_after_seconds=random.uniform(0, seconds))
        assert_old_or_new(models_dir)
