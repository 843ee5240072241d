"""Real Spark on this machine, with nothing configured."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from workflows.spark.session import spark_session


@pytest.fixture(scope="module")
def spark_state_dir(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def spark(spark_state_dir) -> Iterator[SparkSession]:
    with spark_session() as session:
        yield session
