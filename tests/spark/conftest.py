"""Real Spark: the server of this machine with nothing configured, one for all tests of a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from workflows.common.settings import get_settings
from workflows.spark_workflow.session import spark_session


@pytest.fixture(scope="session")
def spark_state_dir() -> Path:
    return get_settings().state_dir


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with spark_session() as session:
        yield session
