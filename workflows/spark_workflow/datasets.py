"""Addresses of Spark's data sets: each execution of a block writes to a new one.

Two executions of a block cannot overwrite each other, a reader only gets the address of a complete data set, and
nothing is renamed, which object stores cannot do.
"""

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

from workflows.common.retention import Retention, remove_old
from workflows.common.settings import Settings

TIME_FORMAT = "%Y%m%dT%H%M%SZ"
DATASET_NAME = re.compile(r"\d{8}T\d{6}Z_run_[A-Za-z0-9-]+_[a-z_]+_[0-9a-f]{12}")
# A younger data set may belong to a run that is not finished.
MIN_AGE_SECONDS = 3600.0


def new_dataset_uri(settings: Settings, name: str, pipeline_run_id: int | None, now: datetime | None = None) -> str:
    """Return a new address.

    Args:
        settings: The storage is `SPARK_DATA_URI`, or the state folder.
        name: Contents of the data set, in lower case and underscores.
        pipeline_run_id: Id of the pipeline run, None outside of a run.
        now: Present time, UTC.
    """
    base = settings.spark_data_uri or str(_local_folder(settings))
    label = re.sub(r"[^A-Za-z0-9-]+", "-", "none" if pipeline_run_id is None else str(pipeline_run_id))
    stamp = (now or datetime.now(UTC)).strftime(TIME_FORMAT)
    return f"{base.rstrip('/')}/{stamp}_run_{label}_{name}_{uuid.uuid4().hex[:12]}"


def remove_old_datasets(settings: Settings) -> list[str]:
    """Remove the old data sets of the state folder and return their names.

    Storage that `SPARK_DATA_URI` names has retention rules of its own.
    """
    folder = _local_folder(settings)
    if settings.spark_data_uri is not None or not folder.is_dir():
        return []
    datasets = [path for path in folder.iterdir() if path.is_dir() and DATASET_NAME.fullmatch(path.name)]
    retention = Retention(keep=settings.spark_keep_datasets, min_age_seconds=MIN_AGE_SECONDS)
    return [path.name for path in remove_old(datasets, retention)]


def _local_folder(settings: Settings) -> Path:
    return settings.state_dir / "spark"
