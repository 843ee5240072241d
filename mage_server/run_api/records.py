"""Records of calls, and how they are stored as pipeline runs in Mage's database.

A call is stored after it has ended, as a completed or failed run. Mage's scheduler would execute the blocks of a run
that it finds unfinished.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mage_ai.data_preparation.models.block import Block
from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun
from sqlalchemy import insert
from sqlalchemy.engine import Engine

from workflows.common.pipeline_runs import CALL_MARKER

_INSERT_RUN = insert(PipelineRun.__table__)
_INSERT_BLOCK = insert(BlockRun.__table__)


@dataclass(frozen=True)
class Record:
    """A call that has ended; times are UTC.

    Attributes:
        block: The block that was called.
        trigger_id: The API trigger whose token was used.
        partition: Where Mage looks for the log and the outputs, see `execution_partition`.
        request_id: Id of the call.
        variables: Variables of the call, as JSON.
        started_at: When the block started.
        completed_at: When the block ended.
        is_completed: Whether the call succeeded.
        log: Content of the log file.
        outputs: Outputs to store; empty if they are not stored, or Mage has stored them.
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


def execution_partition(trigger_id: int, started_at: datetime, request_id: str) -> str:
    """Return the relative folder for a call's log and outputs.

    Mage's own partition has a resolution of one second, so concurrent calls would share a folder.
    """
    return f"{trigger_id}/{started_at:%Y%m%dT%H%M%S}_{request_id}"


def insert_runs(engine: Engine, records: Sequence[Record]) -> None:
    """Store records in one transaction."""
    # Statements are faster than ORM objects; calls that are running need the CPU.
    with engine.begin() as connection:
        blocks = []
        for record in records:
            added = connection.execute(_INSERT_RUN, _run_row(record))
            blocks.append({**_block_row(record), "pipeline_run_id": added.inserted_primary_key[0]})
        connection.execute(_INSERT_BLOCK, blocks)


def _times(record: Record) -> dict[str, datetime]:
    return {
        "created_at": record.started_at,
        "started_at": record.started_at,
        "completed_at": record.completed_at,
    }


def _run_row(record: Record) -> dict[str, Any]:
    # PostgreSQL cannot store the null character in JSON.
    variables = json.loads(record.variables.replace("\\u0000", "\\ufffd"))
    status = PipelineRun.PipelineRunStatus
    return {
        **_times(record),
        "pipeline_schedule_id": record.trigger_id,
        "pipeline_uuid": record.block.pipeline_uuid,
        "execution_date": record.started_at,
        "status": status.COMPLETED if record.is_completed else status.FAILED,
        # Mage reads the folder of logs and outputs from this variable, so it overrides the caller's value.
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
