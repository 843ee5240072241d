"""A call from its parsed body to its answer, apart from HTTP."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import simplejson
from mage_ai.orchestration.db import db_connection
from mage_ai.shared.parsers import encode_complex
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from mage_server.callable_blocks import CALLABLE_BLOCKS
from mage_server.run_api import database
from mage_server.run_api.blocks import Blocks, FoundBlock
from mage_server.run_api.capture import CallLog, capturing
from mage_server.run_api.http_errors import (
    ApiError,
    from_exception,
    not_found,
    timed_out,
    too_many_calls,
    unauthorized,
    unavailable,
)
from mage_server.run_api.pool import Job, Pool, PoolClosedError, PoolFullError
from mage_server.run_api.records import Record, Recorder, partition_of
from mage_server.run_api.request import RunRequest
from mage_server.run_api.trigger_tokens import MISS_TTL_SECONDS, Trigger, TriggerTable, allowed, matching
from workflows.common.errors import WorkflowError
from workflows.common.settings import Settings

logger = logging.getLogger(__name__)

READY_TTL_SECONDS = 1.0


@dataclass(frozen=True)
class Health:
    """What stands in the way of answering calls; `checks` says "ok" or why not, by name."""

    checks: dict[str, str]

    @property
    def is_ok(self) -> bool:
        """Whether nothing does."""
        return all(reason == "ok" for reason in self.checks.values())


class RunService:
    """Everything that calls share: workers, caches, the records.

    Args:
        settings: Sizes and time limits.
        repo_path: The Mage project.
        engine: Mage's database.
        variables_dir: Mage's folder of outputs.
    """

    def __init__(self, settings: Settings, repo_path: Path, engine: Engine, variables_dir: Path):
        self.settings = settings
        self.blocks = Blocks(repo_path)
        self._engine = engine
        self._triggers = TriggerTable(lambda: database.load_triggers(engine))
        self._pool = Pool(settings.run_api_workers, settings.run_api_queue)
        self._recorder = Recorder(engine, variables_dir, settings.run_api_retention_days)
        self._health: tuple[float, Health] | None = None

    def start(self) -> None:
        """Begin to write records, and load what the first call would wait for."""
        self._recorder.start()
        threading.Thread(target=self.health, name="run-api-warm-up", daemon=True).start()

    def close(self, timeout_seconds: float) -> None:
        """Take no more calls, let those under way end, write their records."""
        deadline = time.monotonic() + timeout_seconds
        self._pool.close()
        if not self._pool.wait_idle(timeout_seconds / 2):
            logger.warning("Calls were still under way when the server stopped; they are not recorded")
        if not self._recorder.close(max(0.5, deadline - time.monotonic())):
            logger.warning("Not all records of calls could be written in time")

    async def triggers_of(self, token: str | None) -> Sequence[Trigger]:
        """Return the triggers that a token belongs to.

        Raises:
            ApiError: 401, or 503 where the database cannot be read.
        """
        if not token:
            raise unauthorized()
        try:
            return matching(await self._read_triggers(), token)
        except ApiError:
            # It may be newer than what was read last.
            return matching(await self._read_triggers(MISS_TTL_SECONDS), token)

    async def authorize(self, triggers: Sequence[Trigger], pipeline_uuid: str) -> Trigger:
        """Return the trigger that allows to call blocks of a pipeline.

        Raises:
            ApiError: 403; 404, there is no such pipeline.
        """
        try:
            return allowed(triggers, pipeline_uuid)
        except ApiError:
            has_pipeline = await asyncio.get_running_loop().run_in_executor(
                None, self.blocks.has_pipeline, pipeline_uuid
            )
            if not has_pipeline:
                raise not_found(f"There is no pipeline {pipeline_uuid!r}") from None
            own = {trigger.id for trigger in triggers}
            fresh = await self._read_triggers(MISS_TTL_SECONDS)
            return allowed([trigger for trigger in fresh if trigger.id in own], pipeline_uuid)

    def submit(self, request: RunRequest, trigger: Trigger, request_id: str) -> Job:
        """Queue a call; the result of its job is the body of the answer.

        Raises:
            ApiError: 429; 503 while the server stops.
        """
        try:
            return self._pool.submit(lambda job: self._run(job, request, trigger, request_id))
        except PoolFullError:
            raise too_many_calls(self._pool.retry_after_seconds()) from None
        except PoolClosedError:
            raise unavailable("The server stops") from None

    async def result(self, job: Job) -> bytes:
        """Wait for the body of the answer.

        Raises:
            ApiError: 504, and whatever the call is answered instead.
        """
        seconds = self.settings.run_api_timeout_seconds
        timer = asyncio.get_running_loop().call_later(seconds, self._expire, job, seconds)
        try:
            body: bytes = await job.future
            return body
        finally:
            timer.cancel()

    def _expire(self, job: Job, seconds: float) -> None:
        self._pool.withdraw(job)
        if not job.future.done():
            job.future.set_exception(timed_out(seconds))

    def abandon(self, job: Job) -> None:
        """Nobody waits for the answer any more: what has not begun does not begin."""
        self._pool.withdraw(job)
        job.future.cancel()

    def health(self) -> Health:
        """Look whether calls can be answered; blocks, so it is for threads. Looked at once a second at most."""
        cached = self._health
        if cached is not None and time.monotonic() - cached[0] < READY_TTL_SECONDS:
            return cached[1]
        checks = {"database": _reason(lambda: database.check(self._engine))}
        for block in CALLABLE_BLOCKS:
            if block.check_ready is not None and self.blocks.has_pipeline(block.pipeline):
                checks[f"{block.pipeline}/{block.block}"] = _reason(block.check_ready)
        health = Health(checks)
        self._health = (time.monotonic(), health)
        return health

    async def _read_triggers(self, max_age_seconds: float | None = None) -> Sequence[Trigger]:
        try:
            return await self._triggers.current(max_age_seconds)
        except SQLAlchemyError:
            logger.exception("The API triggers cannot be read")
            raise unavailable("The database cannot be reached") from None

    def _run(self, job: Job, request: RunRequest, trigger: Trigger, request_id: str) -> None:
        """In a worker: execute, leave the record to its writer, answer."""
        started_at = datetime.now(UTC)
        partition = partition_of(trigger.id, started_at, request_id)
        variables = simplejson.dumps(request.variables) if request.record else "{}"
        tags = {"block_uuid": request.block_uuid, "pipeline_uuid": request.pipeline_uuid, "request_id": request_id}
        log = CallLog(tags, is_kept=request.record)
        found: FoundBlock | None = None
        outputs: list[Any] = []
        body = b""
        error: ApiError | None = None
        try:
            found = self.blocks.find(request.pipeline_uuid, request.block_uuid)
            with capturing(log):
                log.info(f"Start executing block {request.block_uuid}.")
                outputs = found.execute(request, log, partition)
            body = dump({"run": {"output": outputs}})
            log.info(f"Finish executing block {request.block_uuid}.")
        except BaseException as caught:  # a block may even raise SystemExit
            error = _explain(caught, log, request_id)
        completed_at = datetime.now(UTC)
        _end_session()
        if request.record and found is not None:
            keeps = request.store_variables and error is None and not found.is_stored_by_mage(request)
            # Before the answer, so that a caller's next call cannot be recorded before this one.
            self._recorder.add(
                Record(
                    block=found.block,
                    trigger_id=trigger.id,
                    partition=partition,
                    request_id=request_id,
                    variables=variables,
                    started_at=started_at,
                    completed_at=completed_at,
                    is_completed=error is None,
                    log=log.text,
                    outputs=outputs if keeps else (),
                )
            )
        job.resolve(body, error)


def dump(body: Any) -> bytes:
    """Return JSON as Mage's handlers write it: tables as records, NaN as null."""
    text: str = simplejson.dumps(body, default=encode_complex, ignore_nan=True)
    return text.encode("utf-8")


def _explain(error: BaseException, log: CallLog, request_id: str) -> ApiError:
    """Write the reason to the logs, and return what the caller is told."""
    answer = from_exception(error)
    if answer.status >= 500:
        logger.error("Call %s is answered %s", request_id, answer.status, exc_info=error)
        log.logger.error(f"Call {request_id} failed.", error=error)
    else:
        log.logger.error(f"Call {request_id} was refused with {answer.status}: {answer.message}")
    return answer


def _end_session() -> None:
    """Give back the database session that the block may have opened in this thread."""
    session = db_connection.session
    if session is not None and session.registry.has():
        session.remove()


def _reason(check: Callable[[], None]) -> str:
    try:
        check()
    except WorkflowError as error:
        return str(error)
    except Exception as error:
        logger.exception("A readiness check failed")
        return f"failed: {type(error).__name__}"
    return "ok"
