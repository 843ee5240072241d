"""Recorded calls: runs in Mage's database, logs and outputs on disk; written behind the callers' backs, in order.

A call is written when it has ended, as a run that is completed or failed: a run that Mage's scheduler finds
under way would have its blocks executed.
"""

import contextlib
import json
import logging
import math
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import simplejson
from mage_ai.data_preparation.models.block import Block
from mage_ai.data_preparation.models.constants import LOGS_SUBDIR
from mage_ai.data_preparation.models.variables.constants import JSON_FILE
from mage_ai.data_preparation.storage.local_storage import LocalStorage
from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun
from mage_ai.settings.server import LOGS_DIR_PATH
from mage_ai.shared.utils import clean_name
from sqlalchemy import String, cast, delete, insert, select
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from workflows.common.pipeline_runs import CALL_MARKER

logger = logging.getLogger(__name__)

MAX_BACKLOG = 1000
# Small, so that Mage's own writers need not wait: SQLite has one lock for the whole database.
BATCH = 25
GATHER_SECONDS = 0.2
PRUNE_BATCH = 200
PRUNE_SECONDS = 3600.0
VARIABLES_SUBDIR = ".variables"
_PARTITION = re.compile(r"(\d{8}T\d{6})_[0-9a-f]{32}")


@dataclass(frozen=True)
class Record:
    """A call that has ended; times are UTC.

    Attributes:
        block: The block that was called.
        trigger_id: The API trigger whose token was used.
        partition: Where Mage looks for the log and the outputs, see `partition_of`.
        request_id: Of the call.
        variables: Of the call, as JSON.
        started_at: When the block began.
        completed_at: When it ended.
        is_completed: Whether it ended without an error.
        log: Content of its log file.
        outputs: What it returned, where that is to be kept.
    """

    block: Block
    trigger_id: int
    partition: str
    request_id: str
    variables: str
    started_at: datetime
    completed_at: datetime
    is_completed: bool
    log: str
    outputs: Sequence[Any] = field(default=(), repr=False)


def partition_of(trigger_id: int, started_at: datetime, request_id: str) -> str:
    """Return a folder of logs and outputs that no other call has: Mage's own name for it counts seconds only."""
    return f"{trigger_id}/{started_at:%Y%m%dT%H%M%S}_{request_id}"


class Recorder:
    """Writes records in a thread of its own and removes old ones.

    Args:
        engine: Mage's database.
        variables_dir: Mage's folder of outputs, and of logs unless `LOGS_DIR_PATH` names another one.
        retention_days: Age at which recorded calls are removed.
    """

    def __init__(self, engine: Engine, variables_dir: Path, retention_days: float):
        self._engine = engine
        self._variables_dir = variables_dir
        self._logs_dir = Path(LOGS_DIR_PATH or variables_dir)
        self._retention = timedelta(days=retention_days)
        self._backlog: deque[Record] = deque()
        self._condition = threading.Condition()
        self._has_work = threading.Event()
        self._is_closing = False
        # The triggers' folders that are known to exist.
        self._made: set[str] = set()
        self._thread = threading.Thread(target=self._serve, name="run-api-records", daemon=True)

    def start(self) -> None:
        """Start to write."""
        self._thread.start()

    def add(self, record: Record) -> None:
        """Queue a record; waits where the backlog is full, so that memory stays bounded and no record is lost."""
        with self._condition:
            while len(self._backlog) >= MAX_BACKLOG:
                self._condition.wait()
            self._backlog.append(record)
        if not self._has_work.is_set():
            self._has_work.set()

    def close(self, timeout_seconds: float) -> bool:
        """Write what is queued and end; say whether that came in time."""
        self._is_closing = True
        self._has_work.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        next_prune = time.monotonic()
        while True:
            self._has_work.wait(max(0.0, next_prune - time.monotonic()))
            if not self._is_closing:
                # Callers that wait for their answers come first, and more records come in one transaction.
                time.sleep(GATHER_SECONDS)
            is_last = self._is_closing
            self._has_work.clear()
            # What comes meanwhile waits for the next turn: many in one transaction cost less than one in each.
            for _ in range(math.ceil(len(self._backlog) / BATCH)):
                self.write(self._next_batch())
            if self._backlog:
                self._has_work.set()
            elif is_last:
                return
            if time.monotonic() >= next_prune:
                next_prune = time.monotonic() + PRUNE_SECONDS
                try:
                    self.prune(datetime.now(UTC))
                except Exception:
                    logger.exception("Old recorded calls could not be removed")

    def _next_batch(self) -> list[Record]:
        with self._condition:
            batch = [self._backlog.popleft() for _ in range(min(BATCH, len(self._backlog)))]
            self._condition.notify_all()
        return batch

    def write(self, records: Sequence[Record]) -> None:
        """Write records; one that cannot be written is logged and does not stop the others."""
        for record in records:
            try:
                self._write_log(record)
                self._store_outputs(record)
            except Exception:
                logger.exception("Log or outputs of call %s could not be written", record.request_id)
        try:
            self._insert(records)
        except Exception:
            if len(records) == 1:
                logger.exception("Call %s could not be recorded", records[0].request_id)
                return
            for record in records:
                self.write_run(record)

    def write_run(self, record: Record) -> None:
        """Write the run of one record, after a batch failed."""
        try:
            self._insert([record])
        except Exception:
            logger.exception("Call %s could not be recorded", record.request_id)

    def _insert(self, records: Sequence[Record]) -> None:
        # Statements, not objects: this thread shares the processor with the callers that wait for answers.
        with self._engine.begin() as connection:
            blocks = []
            for record in records:
                added = connection.execute(_INSERT_RUN, _run_row(record))
                blocks.append({**_block_row(record), "pipeline_run_id": added.inserted_primary_key[0]})
            connection.execute(_INSERT_BLOCK, blocks)

    def _write_log(self, record: Record) -> None:
        pipeline = self._logs_dir / "pipelines" / record.block.pipeline_uuid / LOGS_SUBDIR
        content = record.log.encode("utf-8", "replace")
        self._write_file(pipeline, [*record.partition.split("/"), f"{clean_name(record.block.uuid)}.log"], content)

    def _store_outputs(self, record: Record) -> None:
        """Keep the outputs as `Block.execute_sync` does."""
        outputs = {f"output_{number}": output for number, output in enumerate(record.outputs)}
        if not outputs:
            return
        if all(map(_is_json_object, record.outputs)) and type(record.block.variable_manager.storage) is LocalStorage:
            # What Mage reads of them, without what it also writes: a sample, the type that none is, the size.
            pipeline = self._variables_dir / "pipelines" / record.block.pipeline_uuid / VARIABLES_SUBDIR
            for name, output in outputs.items():
                path = [*record.partition.split("/"), clean_name(record.block.uuid), name, JSON_FILE]
                self._write_file(pipeline, path, simplejson.dumps(output, ignore_nan=True).encode("utf-8"))
            return
        record.block.store_variables(outputs, execution_partition=record.partition, override_outputs=False)
        record.block.aggregate_summary_info()
        record.block.analyze_outputs(outputs, execution_partition=record.partition, shape_only=True)

    def _write_file(self, pipeline: Path, parts: Sequence[str], content: bytes) -> None:
        """Write a file below `pipeline`, with as few calls of the system as it takes: there are many of them."""
        first, *folders, name = parts
        folder = f"{pipeline}/{first}"
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        try:
            for part in folders:
                folder = f"{folder}/{part}"
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder)
            _write(f"{folder}/{name}", content)
        except FileNotFoundError:
            # Somebody has removed the trigger's folder.
            os.makedirs(pipeline.joinpath(*parts[:-1]), exist_ok=True)
            _write(str(pipeline.joinpath(*parts)), content)

    def prune(self, now: datetime) -> int:
        """Remove recorded calls that are older than the retention, and return how many runs that were."""
        before = now - self._retention
        removed = self._prune_folders(before)
        count = 0
        while batch := self._prune_runs(before):
            count += batch
        if count or removed:
            logger.info("Removed %s recorded calls and %s of their folders", count, removed)
        return count

    def _prune_folders(self, before: datetime) -> int:
        """Folders are found by their names, so that those of a call whose run was never written go too."""
        removed = 0
        for root, kind in ((self._logs_dir, LOGS_SUBDIR), (self._variables_dir, VARIABLES_SUBDIR)):
            for folder in root.glob(f"pipelines/*/{kind}/*/*_*"):
                match = _PARTITION.fullmatch(folder.name)
                if match and match[1] < f"{before:%Y%m%dT%H%M%S}":
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
        return removed

    def _prune_runs(self, before: datetime) -> int:
        with Session(self._engine) as session:
            old = (
                select(PipelineRun.id)
                .where(PipelineRun.completed_at < before, cast(PipelineRun.metrics, String).like(f'%"{CALL_MARKER}"%'))
                .limit(PRUNE_BATCH)
            )
            ids = list(session.scalars(old))
            if ids:
                session.execute(delete(BlockRun).where(BlockRun.pipeline_run_id.in_(ids)))
                session.execute(delete(PipelineRun).where(PipelineRun.id.in_(ids)))
                session.commit()
            return len(ids)


def _is_json_object(value: Any) -> bool:
    """Whether Mage keeps an output as one JSON file and nothing else: plain types alone, of exactly these."""
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


_INSERT_RUN = insert(PipelineRun.__table__)
_INSERT_BLOCK = insert(BlockRun.__table__)


def _times(record: Record) -> dict[str, datetime]:
    return {
        "created_at": record.started_at,
        "started_at": record.started_at,
        "completed_at": record.completed_at,
    }


def _run_row(record: Record) -> dict[str, Any]:
    # PostgreSQL cannot keep the character 0 in JSON.
    variables = json.loads(record.variables.replace("\\u0000", "\\ufffd"))
    status = PipelineRun.PipelineRunStatus
    return {
        **_times(record),
        "pipeline_schedule_id": record.trigger_id,
        "pipeline_uuid": record.block.pipeline_uuid,
        "execution_date": record.started_at,
        "status": status.COMPLETED if record.is_completed else status.FAILED,
        # Mage takes the folder of logs and outputs from this name, so a caller's own must not stand.
        "variables": {**variables, "execution_partition": record.partition},
        "metrics": {CALL_MARKER: record.request_id},
    }


def _block_row(record: Record) -> dict[str, Any]:
    status = BlockRun.BlockRunStatus
    return {
        **_times(record),
        "block_uuid": record.block.uuid,
        "status": status.COMPLETED if record.is_completed else status.FAILED,
    }
