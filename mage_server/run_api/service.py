"""Run a parsed call and return the response body, independent of HTTP."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import simplejson
from mage_ai.orchestration.db import db_connection
from mage_ai.shared.parsers import encode_complex
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from mage_server.callable_blocks import CALLABLE_BLOCKS
from mage_server.champion_watch import ChampionWatch
from mage_server.housekeeping import Housekeeping
from mage_server.run_api import database, trigger_tokens
from mage_server.run_api.blocks import Blocks, FoundBlock
from mage_server.run_api.capture import CallLog, capture_output
from mage_server.run_api.http_errors import (
    ApiError,
    not_found,
    timed_out,
    to_api_error,
    too_many_calls,
    unauthorized,
    unavailable,
)
from mage_server.run_api.permission import check_callable
from mage_server.run_api.pool import Job, Pool, PoolClosedError, PoolFullError
from mage_server.run_api.recorder import Recorder
from mage_server.run_api.records import Record, execution_partition
from mage_server.run_api.request import RunRequest
from mage_server.run_api.schema import find_callable_block
from mage_server.run_api.trigger_tokens import UNKNOWN_TOKEN_TTL_SECONDS, Trigger, TriggerCache
from mage_server.watchdog import check_scheduler
from workflows.common.errors import WorkflowError
from workflows.common.redaction import redacted
from workflows.common.settings import Settings
from workflows.common.time_limit import time_limit

logger = logging.getLogger(__name__)

HEALTH_TTL_SECONDS = 1.0


@dataclass(frozen=True)
class Health:
    """Results of the readiness checks: "ok" or the reason of the failure, by name of the check."""

    checks: dict[str, str]

    @property
    def is_ok(self) -> bool:
        """Whether all checks passed."""
        return all(result == "ok" for result in self.checks.values())


class RunService:
    """Runs calls. Holds what they share: the workers, the caches and the recorder.

    Args:
        settings: Sizes and time limits.
        repo_path: Folder of the Mage project.
        engine: Connects to Mage's database.
        variables_dir: Folder where Mage stores outputs.
    """

    def __init__(self, settings: Settings, repo_path: Path, engine: Engine, variables_dir: Path):
        self.settings = settings
        self.blocks = Blocks(repo_path, lambda pipeline: database.has_completed_run(engine, pipeline))
        self._engine = engine
        self._triggers = TriggerCache(lambda: database.load_triggers(engine))
        self._pool = Pool(settings.run_api_workers, settings.run_api_queue)
        self._recorder = Recorder(engine, variables_dir)
        self._background = (Housekeeping(settings, engine, variables_dir), ChampionWatch(settings))
        self._health: tuple[float, Health] | None = None

    def start(self) -> None:
        """Start the recorder, and load what the first call would otherwise wait for."""
        self._recorder.start()
        for work in self._background:
            work.start()
        threading.Thread(target=self.health, name="run-api-warm-up", daemon=True).start()

    def close(self, timeout_seconds: float) -> None:
        """Reject new calls, wait for running calls, and write their records."""
        deadline = time.monotonic() + timeout_seconds
        self._pool.close()
        if not self._pool.wait_idle(timeout_seconds / 2):
            logger.warning("The server stopped while calls were running; these calls are not recorded")
        if not self._recorder.close(max(0.5, deadline - time.monotonic())):
            logger.warning("The server stopped before all calls were recorded")

    async def authenticate(self, token: str | None) -> Sequence[Trigger]:
        """Return the triggers that have a token.

        Raises:
            ApiError: 401, the token is missing or unknown. 503, the database cannot be read.
        """
        if not token:
            raise unauthorized()
        try:
            return trigger_tokens.authenticate(await self._read_triggers(), token)
        except ApiError:
            # The trigger may be newer than the cache.
            return trigger_tokens.authenticate(await self._read_triggers(UNKNOWN_TOKEN_TTL_SECONDS), token)

    async def authorize(self, triggers: Sequence[Trigger], pipeline_uuid: str) -> Trigger:
        """Return the trigger that allows its token to run blocks of a pipeline.

        Raises:
            ApiError: 403, no trigger does. 404, the pipeline does not exist.
        """
        try:
            return trigger_tokens.authorize(triggers, pipeline_uuid)
        except ApiError:
            has_pipeline = await asyncio.get_running_loop().run_in_executor(
                None, self.blocks.has_pipeline, pipeline_uuid
            )
            if not has_pipeline:
                raise not_found(f"There is no pipeline {pipeline_uuid!r}") from None
            # The trigger may have been activated since it was cached.
            ids = {trigger.id for trigger in triggers}
            current = await self._read_triggers(UNKNOWN_TOKEN_TTL_SECONDS)
            return trigger_tokens.authorize([trigger for trigger in current if trigger.id in ids], pipeline_uuid)

    def submit(self, request: RunRequest, trigger: Trigger, request_id: str) -> Job:
        """Queue a call. The result of the returned job is the response body.

        Raises:
            ApiError: 429, all workers are busy and the queue is full. 503, the server is shutting down.
        """
        ends_at = time.monotonic() + self.settings.run_api_timeout_seconds

        def run(job: Job) -> None:
            with time_limit(ends_at):
                self._run(job, request, trigger, request_id)

        try:
            return self._pool.submit(run)
        except PoolFullError:
            raise too_many_calls(self._pool.retry_after_seconds()) from None
        except PoolClosedError:
            raise unavailable("The server is shutting down") from None

    async def response_body(self, job: Job) -> bytes:
        """Wait for a call and return the response body.

        Raises:
            ApiError: the call failed; 504 if it took too long.
        """
        seconds = self.settings.run_api_timeout_seconds
        timer = asyncio.get_running_loop().call_later(seconds, self._time_out, job, seconds)
        try:
            body: bytes = await job.future
            return body
        finally:
            timer.cancel()

    def _time_out(self, job: Job, seconds: float) -> None:
        self._pool.cancel(job)
        if not job.future.done():
            job.future.set_exception(timed_out(seconds))

    def cancel(self, job: Job) -> None:
        """Stop waiting for a call, and remove it from the queue if it has not started."""
        self._pool.cancel(job)
        job.future.cancel()

    def health(self) -> Health:
        """Run the readiness checks, at most once per `HEALTH_TTL_SECONDS`. Blocks, so do not call in an event loop."""
        cached = self._health
        if cached is not None and time.monotonic() - cached[0] < HEALTH_TTL_SECONDS:
            return cached[1]
        checks = {
            "database": _check_result(lambda: database.check_connection(self._engine)),
            "scheduler": _check_result(check_scheduler),
            "records": "ok" if self._recorder.is_alive else "failed: the writer of records has ended",
        }
        for block in CALLABLE_BLOCKS:
            if block.check_ready is not None and self.blocks.has_pipeline(block.pipeline):
                checks[f"{block.pipeline}/{block.block}"] = _check_result(block.check_ready)
        health = Health(checks)
        self._health = (time.monotonic(), health)
        return health

    async def _read_triggers(self, max_age_seconds: float | None = None) -> Sequence[Trigger]:
        try:
            return await self._triggers.get(max_age_seconds)
        except SQLAlchemyError:
            logger.exception("The API triggers cannot be read from the database")
            raise unavailable("The server's database is unreachable") from None

    def _run(self, job: Job, request: RunRequest, trigger: Trigger, request_id: str) -> None:
        """Execute the block in a worker thread, queue the record of the call, and resolve the job."""
        started_at = datetime.now(UTC)
        partition = execution_partition(trigger.id, started_at, request_id)
        variables = simplejson.dumps(redacted(request.variables)) if request.record else "{}"
        tags = {"block_uuid": request.block_uuid, "pipeline_uuid": request.pipeline_uuid, "request_id": request_id}
        log = CallLog(tags, is_kept=request.record)
        found: FoundBlock | None = None
        outputs: list[Any] = []
        ignored: list[str] = []
        body = b""
        error: ApiError | None = None
        try:
            found = self.blocks.find(request.pipeline_uuid, request.block_uuid)
            check_callable(found.block, request.run_upstream_blocks)
            if (documented := find_callable_block(request.pipeline_uuid, request.block_uuid)) is not None:
                known, ignored = documented.known_variables(request.variables)
                request = replace(request, variables=known)
            with capture_output(log):
                log.info(f"Start executing block {request.block_uuid}.")
                outputs = redacted(found.execute(request, log, partition))
            body = serialise({"run": {"output": outputs, **({"ignored": ignored} if ignored else {})}})
            log.info(f"Finish executing block {request.block_uuid}.")
        except BaseException as caught:  # a block may even raise SystemExit
            error = _log_failure(caught, log, request_id)
        completed_at = datetime.now(UTC)
        _remove_session()
        # A call that was refused is no run: the dashboard would fill with the mistakes of callers.
        is_refused = error is not None and error.status < 500
        if request.record and found is not None and not is_refused:
            stores_outputs = request.store_variables and error is None and not found.is_stored_by_mage(request)
            # Before the response is sent, so that the caller's next call is recorded after this one.
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
                    outputs=outputs if stores_outputs else (),
                )
            )
        job.resolve(body, error)


def serialise(body: Any) -> bytes:
    """Return JSON in the format of Mage's handlers: tables as lists of records, NaN as null."""
    text: str = simplejson.dumps(body, default=encode_complex, ignore_nan=True)
    return text.encode("utf-8")


def _log_failure(error: BaseException, log: CallLog, request_id: str) -> ApiError:
    """Log the reason of a failure and return the error for the caller."""
    api_error = to_api_error(error)
    if api_error.status >= 500:
        logger.error("Call %s failed with status %s", request_id, api_error.status, exc_info=error)
        log.logger.error(f"Call {request_id} failed.", error=error)
    else:
        log.logger.error(f"Call {request_id} was rejected with status {api_error.status}: {api_error.message}")
    return api_error


def _remove_session() -> None:
    """Remove the database session that the block may have opened in this thread."""
    session = db_connection.session
    if session is not None and session.registry.has():
        session.remove()


def _check_result(check: Callable[[], None]) -> str:
    try:
        check()
    except WorkflowError as error:
        return str(error)
    except Exception as error:
        logger.exception("A readiness check failed")
        return f"failed: {type(error).__name__}"
    return "ok"
