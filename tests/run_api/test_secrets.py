"""No secret in the answers of a server, nor in what it leaves behind, however a source fails."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import requests
import yaml

from benchmarks.servers import RunningServer, run_api_command, start_server
from mage_server.callable_blocks import PASSENGER_EXAMPLE
from tests.failing_source import WAYS, FailingSource
from workflows.common.processes import free_port

PIPELINE = "ml_training_and_inference"
# One reads the passengers, the other asks the language model.
BLOCKS = {"refresh_core_users": {}, "explain_prediction": PASSENGER_EXAMPLE}


@pytest.fixture(scope="module")
def source() -> Iterator[FailingSource]:
    with FailingSource(f"secret-{uuid4().hex}") as made:
        yield made


@pytest.fixture(scope="module")
def failing(
    tmp_path_factory: pytest.TempPathFactory, trained_repository: Path, source: FailingSource
) -> Iterator[RunningServer]:
    """A server whose settings name the source everywhere."""
    folder = tmp_path_factory.mktemp("failing")
    shutil.copytree(trained_repository, folder, dirs_exist_ok=True)
    path = folder / "project" / "pipelines" / PIPELINE / "metadata.yaml"
    pipeline = yaml.safe_load(path.read_text())
    for block in pipeline["blocks"]:
        if block["uuid"] in BLOCKS:
            block["configuration"] = {"run_api": True}
    path.write_text(yaml.safe_dump(pipeline))
    server = start_server(folder, *run_api_command(), **source.environment())
    yield server
    server.stop()


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("refused", "records")])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_source_that_fails(failing: RunningServer, source: FailingSource, block: str, way: str):
    source.way = way
    response = failing.call(PIPELINE, block, {**BLOCKS[block], "note": source.url("noted")})
    assert response.status_code >= 400
    failing.wait_for_rows("SELECT 1 FROM pipeline_run WHERE status = 'FAILED'")
    answers = [response.text, *(requests.get(failing.url + path, timeout=30).text for path in PATHS)]
    assert not [answer for answer in answers if source.secret in answer]
    assert places_of(source.secret, failing.folder) == []


PATHS = (
    "/api/runs/health/ready",
    f"/api/pipelines/{PIPELINE}/logs",
    f"/api/pipeline_runs?pipeline_uuid={PIPELINE}",
    f"/api/block_runs?pipeline_uuid={PIPELINE}",
)


def test_a_database_that_cannot_be_reached(project_folder: Path):
    secret = f"secret-{uuid4().hex}"
    environment = {
        "MAGE_DATABASE_CONNECTION_URL": f"postgresql+psycopg2://mage:{secret}@127.0.0.1:{free_port()}/mage",
        "STATE_DIR": str(project_folder / "state"),
        "MAGE_DATA_DIR": str(project_folder / "data"),
        "DISABLE_AUTO_BROWSER_OPEN": "1",
    }
    with (project_folder / "server.log").open("wb") as log:
        command = [*run_api_command(), str(project_folder / "project"), "--port", str(free_port())]
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
        try:
            for _ in range(300):
                time.sleep(0.1)
                text = (project_folder / "server.log").read_text(errors="replace")
                if process.poll() is not None or "OperationalError" in text:
                    break
        finally:
            process.kill()
            process.wait()
    assert "OperationalError" in text
    assert places_of(secret, project_folder) == []


def places_of(secret: str, folder: Path) -> list[str]:
    """Return the files below a folder that hold a secret: logs, outputs, database."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and holds(path, secret)]


def holds(path: Path, secret: str) -> bool:
    try:
        return secret.encode() in path.read_bytes()
    except FileNotFoundError:
        # SQLite removes its journal at any time.
        return False
