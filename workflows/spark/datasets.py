"""Where Spark's data sets live: each execution of a block writes to an address of its own.

Two executions of one block never meet, a reader is only ever given the address of a finished data set, and
nothing has to be renamed, which object stores cannot do.
"""

import re
import shutil
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from workflows.common.settings import Settings

TIME_FORMAT = "%Y%m%dT%H%M%SZ"
DATASET_NAME = re.compile(r"(?P<time>\d{8}T\d{6}Z)_run_[A-Za-z0-9-]+_[a-z_]+_[0-9a-f]{12}")
# A data set this young may belong to a run that is still under way.
YOUNGEST_TO_REMOVE = timedelta(hours=1)


def new_dataset_uri(settings: Settings, name: str, run: object, now: datetime | None = None) -> str:
    """Return an address that nothing has been written to.

    Args:
        settings: Says which storage: `SPARK_DATA_URI`, or the state folder.
        name: What the data set holds, in lower case and underscores.
        run: Id of the pipeline run, None outside of one.
        now: Present time, UTC.
    """
    base = settings.spark_data_uri or str(_local_folder(settings))
    label = re.sub(r"[^A-Za-z0-9-]+", "-", "none" if run is None else str(run))
    stamp = (now or datetime.now(UTC)).strftime(TIME_FORMAT)
    return f"{base.rstrip('/')}/{stamp}_run_{label}_{name}_{uuid.uuid4().hex[:12]}"


def datasets_to_remove(names: Iterable[str], keep: int, now: datetime) -> list[str]:
    """Return the names of data sets that are neither among the newest `keep` nor young; others are left alone."""
    ours = sorted((name for name in names if DATASET_NAME.fullmatch(name)), reverse=True)
    limit = (now - YOUNGEST_TO_REMOVE).strftime(TIME_FORMAT)
    return [name for name in ours[keep:] if name < limit]


def remove_old_datasets(settings: Settings, now: datetime | None = None) -> list[str]:
    """Remove the old data sets of the state folder and return their names; other storage has its own rules."""
    folder = _local_folder(settings)
    if settings.spark_data_uri is not None or not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    removed = datasets_to_remove(names, settings.spark_keep_datasets, now or datetime.now(UTC))
    for name in removed:
        # Another run may be removing the same one.
        shutil.rmtree(folder / name, ignore_errors=True)
    return removed


def _local_folder(settings: Settings) -> Path:
    return settings.state_dir / "spark"
