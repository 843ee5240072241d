import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.pipeline import Pipeline

from mage_server.callable_blocks import PASSENGER_EXAMPLE
from workflows.ai_blocks.completions import Completion
from workflows.ai_blocks.prompts import Message
from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.registry import DATABASE_FILE, Registry
from workflows.ml_training_and_inference.training import Parameters, fit
from workflows.passengers.contract import ATTRIBUTE_NAMES
from workflows.passengers.files import load_passengers

KIM = PASSENGER_EXAMPLE


@pytest.fixture(scope="session", autouse=True)
def no_mage() -> Iterator[None]:
    """Fail if a unit test imports Mage, which takes seconds."""
    imported_before = "mage_ai" in sys.modules
    yield
    assert imported_before or "mage_ai" not in sys.modules, "unit tests must not import mage_ai"


@pytest.fixture(scope="session")
def titanic() -> pd.DataFrame:
    return load_passengers(str(get_settings().data_dir / "titanic.csv"))


@pytest.fixture(scope="session")
def pipeline(titanic: pd.DataFrame) -> Pipeline:
    return fit(titanic[list(ATTRIBUTE_NAMES)], titanic["survived"].to_numpy(), Parameters())


@pytest.fixture
def kim() -> dict[str, object]:
    return dict(KIM)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without anything in it, which takes seconds to create."""
    folder = tmp_path_factory.mktemp("store")
    models = Registry(folder)
    MlflowClient(models.uri).search_experiments()
    return folder / DATABASE_FILE


@pytest.fixture
def models_dir(tmp_path: Path, empty_store: Path) -> Path:
    """A folder of models with MLflow's empty store."""
    shutil.copyfile(empty_store, tmp_path / DATABASE_FILE)
    return tmp_path


class ScriptedModel:
    """Answers with the given texts, one a call, and keeps what it was asked."""

    def __init__(self, *answers: str | Mapping[str, Any]):
        self.answers = [answer if isinstance(answer, str) else json.dumps(answer) for answer in answers]
        self.asked: list[list[Message]] = []
        self.temperatures: list[float] = []
        self.max_tokens: list[int] = []

    max_attempts: int | None = None

    @property
    def identity(self) -> str:
        return "scripted"

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        self.asked.append(list(messages))
        self.temperatures.append(temperature)
        self.max_tokens.append(max_tokens)
        text = self.answers[len(self.asked) - 1]
        return Completion(text=text, model="scripted", input_tokens=8, output_tokens=2, seconds=0.5)


def most_inside(enter: Callable[[], AbstractContextManager[None]], threads: int = 8, times: int = 20) -> int:
    """Let threads enter a context again and again, and return the largest number that was inside at once."""
    inside = most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(times):
            with enter():
                with lock:
                    inside += 1
                    most = max(most, inside)
                # Long enough for the others to come in, if nothing keeps them out.
                time.sleep(0.002)
                with lock:
                    inside -= 1

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return most


@pytest.fixture(name="most_inside", scope="session")
def _most_inside() -> Callable[..., int]:
    return most_inside


@pytest.fixture(scope="session")
def scripted() -> type[ScriptedModel]:
    return ScriptedModel
