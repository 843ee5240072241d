"""Record calls in the background: write their runs, logs and outputs."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.engine import Engine

from mage_server.run_api.record_files import RecordFiles
from mage_server.run_api.records import Record, insert_runs

logger = logging.getLogger(__name__)

MAX_BACKLOG = 1000
# Small, because SQLite locks the whole database and Mage's own writers have to wait.
BATCH_SIZE = 25
BATCH_DELAY_SECONDS = 0.2


class Recorder:
    """Writes records in their order, in a thread of its own.

    Args:
        engine: Connects to Mage's database.
        variables_dir: Folder where Mage stores outputs, and logs unless `LOGS_DIR_PATH` is set.
    """

    def __init__(self, engine: Engine, variables_dir: Path):
        self._engine = engine
        self._files = RecordFiles(variables_dir)
        self._backlog: deque[Record] = deque()
        self._condition = threading.Condition()
        self._has_work = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="run-api-recorder", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether records are being written."""
        return self._thread.is_alive()

    def add(self, record: Record) -> None:
        """Queue a record. Blocks while the backlog is full, so that memory is bounded and no record is lost."""
        with self._condition:
            if not (self.is_alive or self._is_closing):
                logger.error("The writer of records has ended; it is started again")
                self.start()
            while len(self._backlog) >= MAX_BACKLOG:
                self._condition.wait()
            self._backlog.append(record)
        if not self._has_work.is_set():
            self._has_work.set()

    def close(self, timeout_seconds: float) -> bool:
        """Write the queued records and stop the thread. Return False on timeout."""
        self._is_closing = True
        self._has_work.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._has_work.wait()
            if not self._is_closing:
                # Leaves the CPU to callers that wait for a response, and collects more records per transaction.
                time.sleep(BATCH_DELAY_SECONDS)
            is_last = self._is_closing
            self._has_work.clear()
            # Records added from now on wait for the next round: few large transactions are cheaper than many small.
            for _ in range(math.ceil(len(self._backlog) / BATCH_SIZE)):
                self.write(self._next_batch())
            if self._backlog:
                self._has_work.set()
            elif is_last:
                return

    def _next_batch(self) -> list[Record]:
        with self._condition:
            batch = [self._backlog.popleft() for _ in range(min(BATCH_SIZE, len(self._backlog)))]
            self._condition.notify_all()
        return batch

    def write(self, records: Sequence[Record]) -> None:
        """Write records. A record that cannot be written is logged and does not affect the others."""
        for record in records:
            try:
                self._files.write(record)
            except Exception:
                logger.exception("The log or the outputs of call %s could not be written", record.request_id)
        self._insert(records)

    def _insert(self, records: Sequence[Record]) -> None:
        try:
            insert_runs(self._engine, records)
        except Exception:
            if len(records) > 1:
                # Find out which of them cannot be written.
                for record in records:
                    self._insert([record])
            else:
                logger.exception("Call %s could not be recorded", records[0].request_id)
