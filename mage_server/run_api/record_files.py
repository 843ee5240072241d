"""Log and output files of recorded calls, in the folders where Mage's UI looks for them."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import simplejson
from mage_ai.data_preparation.models.constants import LOGS_SUBDIR
from mage_ai.data_preparation.models.variables.constants import JSON_FILE
from mage_ai.data_preparation.storage.local_storage import LocalStorage
from mage_ai.settings.server import LOGS_DIR_PATH
from mage_ai.shared.utils import clean_name

from mage_server.housekeeping import VARIABLES_SUBDIR
from mage_server.run_api.records import Record


class RecordFiles:
    """Writes the files of recorded calls. Not thread-safe.

    Args:
        variables_dir: Folder where Mage stores outputs, and logs unless `LOGS_DIR_PATH` is set.
    """

    def __init__(self, variables_dir: Path):
        self._variables_dir = variables_dir
        self._logs_dir = Path(LOGS_DIR_PATH or variables_dir)
        self._existing_folders: set[str] = set()

    def write(self, record: Record) -> None:
        """Write the log and the outputs of a call.

        Raises:
            OSError: a file cannot be written.
        """
        folder = self._logs_dir / "pipelines" / record.block.pipeline_uuid / LOGS_SUBDIR
        path = [*record.partition.split("/"), f"{clean_name(record.block.uuid)}.log"]
        self._write_file(folder, path, record.log.encode("utf-8", "replace"))
        if record.outputs:
            self._write_outputs(record)

    def _write_outputs(self, record: Record) -> None:
        """Store the outputs as `Block.execute_sync` does."""
        outputs = {f"output_{number}": output for number, output in enumerate(record.outputs)}
        if all(map(_is_json_object, record.outputs)) and type(record.block.variable_manager.storage) is LocalStorage:
            # Only the file that Mage reads; Mage would also write a sample, the type and the size of the output.
            folder = self._variables_dir / "pipelines" / record.block.pipeline_uuid / VARIABLES_SUBDIR
            for name, output in outputs.items():
                path = [*record.partition.split("/"), clean_name(record.block.uuid), name, JSON_FILE]
                self._write_file(folder, path, simplejson.dumps(output, ignore_nan=True).encode("utf-8"))
            return
        record.block.store_variables(outputs, execution_partition=record.partition, override_outputs=False)
        record.block.aggregate_summary_info()
        record.block.analyze_outputs(outputs, execution_partition=record.partition, shape_only=True)

    def _write_file(self, root: Path, parts: Sequence[str], content: bytes) -> None:
        """Write the file `root/*parts` with few system calls, as there are several files per call."""
        first, *folders, name = parts
        folder = f"{root}/{first}"
        if folder not in self._existing_folders:
            os.makedirs(folder, exist_ok=True)
            self._existing_folders.add(folder)
        try:
            for part in folders:
                folder = f"{folder}/{part}"
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder)
            _write(f"{folder}/{name}", content)
        except FileNotFoundError:
            # Another process has removed the trigger's folder.
            os.makedirs(root.joinpath(*parts[:-1]), exist_ok=True)
            _write(str(root.joinpath(*parts)), content)


def _is_json_object(value: Any) -> bool:
    """Whether Mage stores an output as a single JSON file: a dict of plain JSON types, not of subclasses."""
    return type(value) is dict and _is_json(value)


def _is_json(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str and _is_json(each) for key, each in value.items())
    if type(value) is list:
        return all(map(_is_json, value))
    return value is None or type(value) in (str, int, float, bool)


def _write(path: str, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)
