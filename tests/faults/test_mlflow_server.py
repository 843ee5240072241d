"""An MLflow server of the user's: training and promotion go there, and its death stops no prediction."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import requests

from mage_server.champion_watch import ChampionWatch
from stack.mage_client import wait_until
from workflows.common.errors import ServiceError
from workflows.common.processes import free_port
from workflows.common.settings import REPO_PATH, Settings
from workflows.ml_training_and_inference.champion import load_champion
from workflows.ml_training_and_inference.documentation import document_version
from workflows.ml_training_and_inference.registry import DATABASE_FILE, Registry
from workflows.ml_training_and_inference.train_and_promote import PARAMETERS, train_survival_model
from workflows.passengers.files import load_passengers

MLFLOW = REPO_PATH / ".venv-mlflow" / "bin" / "mlflow"
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not MLFLOW.exists(), reason="There is no MLflow server; make setup-mlflow installs one"),
]


class Server:
    """An MLflow server with an SQLite store, which also hands out the artifacts."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "--backend-store-uri": f"sqlite:///{self.folder / 'server.db'}",
            "--artifacts-destination": str(self.folder / "artifacts"),
            "--host": "127.0.0.1",
            "--port": str(self.port),
            "--workers": "1",
        }
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [MLFLOW, "server", *(part for option in options.items() for part in option)],
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._is_up, 90)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def _is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def titanic() -> pd.DataFrame:
    return load_passengers(str(REPO_PATH / "data" / "titanic.csv"))


def train(titanic: pd.DataFrame, models_dir: Path, server: Server, seed: int) -> pd.DataFrame:
    parameters = replace(PARAMETERS, n_estimators=60, seed=seed)
    return train_survival_model(titanic, models_dir, parameters, 1, tracking_uri=server.url)


def test_training_goes_to_the_server_and_its_death_stops_no_prediction(
    titanic: pd.DataFrame, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    trained = train(titanic, here, server, 0)
    assert set(trained["model_status"]) == {"champion"}
    assert load_champion(here).name == "1"
    assert not (here / DATABASE_FILE).exists()
    assert "survival" in document_version(titanic, "1", here, server.url)["model_card"][0].lower()
    children = Registry(here, server.url).children(str(Registry(here, server.url).get("1").run_id))
    assert "logistic regression" in children

    # Another machine, which never trained.
    watch = ChampionWatch(Settings(state_dir=elsewhere, mlflow_tracking_uri=server.url))
    models_dir = Settings(state_dir=elsewhere).models_dir
    watch.look()
    assert load_champion(models_dir).name == "1"

    server.kill()
    started = time.monotonic()
    watch.look()
    with pytest.raises(ServiceError, match="MLFLOW_TRACKING_URI"):
        train(titanic, here, server, 1)
    assert time.monotonic() - started < 60
    assert load_champion(here).name == load_champion(models_dir).name == "1"
    assert "the kept one goes on serving" in caplog.text

    server.start()
    Registry(here, server.url).promote(str(train(titanic, here, server, 1)["model_version"][0]))
    watch.look()
    assert load_champion(models_dir).name == "2"
