from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from workflows.callable_blocks import PASSENGER_EXAMPLE
from workflows.passengers import ATTRIBUTE_NAMES, load_passengers
from workflows.survival import registry
from workflows.survival.training import Parameters, fit

KIM = PASSENGER_EXAMPLE


@pytest.fixture(scope="session")
def titanic() -> pd.DataFrame:
    return load_passengers(str(Path(__file__).parents[3] / "data" / "titanic.csv"))


@pytest.fixture(scope="session")
def pipeline(titanic: pd.DataFrame) -> Pipeline:
    return fit(titanic[list(ATTRIBUTE_NAMES)], titanic["survived"].to_numpy(), Parameters())


@pytest.fixture
def kim() -> dict[str, object]:
    return dict(KIM)


@pytest.fixture
def save(tmp_path: Path, pipeline: Pipeline) -> Callable[[], str]:
    """Keep the fitted pipeline as one more version in `tmp_path`."""
    return lambda: registry.save(tmp_path, pipeline, {"rows": 891}, "ab" * 32)
