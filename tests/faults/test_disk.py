"""A disk that is full: the run says so, what was good before stays, and the next run is normal."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import instant_model
from mage_server.callable_blocks import PASSENGER_EXAMPLE
from stack.console import Console
from stack.demo import follow
from stack.launch import INFERENCE, Stack
from stack.mage_client import wait_until
from stack.mage_process import REQUIRED_BYTES

pytestmark = pytest.mark.timeout(900)
MODEL = ("ml_training_and_inference", "online_inference")


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of a little more than a start asks for; memory holds it."""
    folder = tmp_path_factory.mktemp("disk")
    size = REQUIRED_BYTES + 512 * 1024**2
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"Only root may mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def stack(up, small_disk) -> Iterator[Stack]:
    with instant_model() as model:
        command = up(STATE_DIR=str(small_disk / "state"), **model)
        running = command.start()
        wait_until(lambda: [run for run in running.database.runs("sql_python_workflow") if run.has_ended], 300)
        for run in reversed(running.database.runs("sql_python_workflow")):
            assert {one.status for one in follow(running.database, run, Console())} == {"completed"}
        yield running
        command.stop()


def fill(path: Path) -> None:
    """Leave no byte free."""
    with path.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 1024**2)
                file.flush()
        except OSError:
            pass
        while True:
            try:
                os.write(file.fileno(), b"\0" * 4096)
            except OSError:
                return


def test_a_full_disk_is_said_loses_nothing_and_is_over_when_there_is_space(stack, small_disk):
    trigger = stack.trigger(MODEL[0], INFERENCE)
    before = stack.client.run_block(*MODEL, trigger, PASSENGER_EXAMPLE)
    filler = small_disk / "filler"
    run = stack.start_run("ingestion")
    fill(filler)
    try:
        status = subprocess.run([sys.executable, "-m", "stack.status"], check=False, capture_output=True, text=True)
        assert status.returncode == 1
        assert "FULL, 0.0 GB free" in status.stdout
        # Mage's own database is on the full disk: that nothing can be noted is expected; the model keeps serving.
        assert stack.client.run_block(*MODEL, trigger, PASSENGER_EXAMPLE) == before
    finally:
        filler.unlink()
    wait_until(lambda: next(one for one in stack.database.runs("ingestion") if one.id == run.id).has_ended, 300)
    for pipeline in ("ingestion", "sql_python_workflow"):
        runs = follow(stack.database, stack.start_run(pipeline), Console())
        assert {one.status for one in runs} == {"completed"}
    assert json.dumps(stack.client.run_block(*MODEL, trigger, PASSENGER_EXAMPLE))
