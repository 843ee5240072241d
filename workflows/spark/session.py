"""A Spark session on first use, shared by the blocks of one process, and gone when the last one is done."""

import contextlib
import logging
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyspark
from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from workflows.common.errors import ServiceError, WorkflowError
from workflows.common.settings import Settings, get_settings
from workflows.spark.config import (
    check_reachable,
    describe,
    launch_environment,
    launch_settings,
    uses_local_defaults,
)
from workflows.spark.java import find_java
from workflows.spark.start_cache import java_options

logger = logging.getLogger(__name__)
# It logs every connection that it closes, and the traces of errors that are raised here anyway.
logging.getLogger("py4j").setLevel(logging.CRITICAL)

# A JVM that writes the archive of its classes takes half a minute to end.
STOP_TIMEOUT_SECONDS = 180
# With the client's backoff, a quarter of a minute.
CONNECT_RETRIES = 5
LOG_LIMIT_BYTES = 5_000_000
MESSAGE_LIMIT = 500


class _Shared:
    """The session of this process, how many blocks use it now, and the lock around both."""

    lock = threading.RLock()
    session: SparkSession | None = None
    users = 0


@contextlib.contextmanager
def spark_session(*, keep: bool = False, start_cache_output: Path | None = None) -> Iterator[SparkSession]:
    """Yield the session of this process, made on first use.

    When the last user leaves, the session is stopped and its JVM ended, unless `keep` says that a later block
    of the same process needs it. What fails in Spark leaves as one clear line; the traces are in the
    log `spark.log` of the state folder.

    Args:
        keep: Leave the session running for the next block, if this one succeeds.
        start_cache_output: Have the JVM leave an archive of its loaded classes there when it ends, which
            takes half a minute.

    Raises:
        ServiceError: no Java, the master or server cannot be reached, or work in Spark failed or took too long.
    """
    settings = get_settings()
    with _Shared.lock:
        session = _Shared.session
        if session is None or not _is_alive(session):
            _stop()
            _Shared.session = session = _start(settings, start_cache_output)
        _Shared.users += 1
    succeeded = False
    try:
        with _errors_in_one_line(settings), _time_limit(session, settings.spark_timeout_seconds):
            yield session
        succeeded = True
    finally:
        with _Shared.lock:
            _Shared.users -= 1
            if _Shared.users == 0 and not (keep and succeeded):
                _stop()


def _start(settings: Settings, start_cache_output: Path | None) -> SparkSession:
    check_reachable(settings)
    with _errors_in_one_line(settings):
        session = _start_remote(settings) if settings.spark_remote else _start_classic(settings, start_cache_output)
        logger.info("Spark %s runs at %s", session.version, describe(settings))
        return session


def _start_remote(settings: Settings) -> SparkSession:

    from pyspark.sql.connect.client.retries import DefaultPolicy  # noqa: PLC0415 - needs grpc

    session = SparkSession.builder.remote(str(settings.spark_remote)).getOrCreate()
    # The client's own policy goes on for ten minutes, also where the other side is no Connect server at all.
    session.client.set_retry_policies([DefaultPolicy(max_retries=CONNECT_RETRIES)])
    try:
        # The client connects with its first question, not before.
        session.version  # noqa: B018
    except Exception:
        with contextlib.suppress(Exception):
            session.stop()
        raise
    return session


def _start_classic(settings: Settings, start_cache_output: Path | None) -> SparkSession:

    java = find_java(settings)
    conf = SparkConf(loadDefaults=False)
    conf.setAll(list(launch_settings(settings, java_options(java, start_cache_output)).items()))
    environment = launch_environment(settings, java.home, Path(pyspark.__file__).parent)
    log_path = _log_path(settings)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    if log_path.exists() and log_path.stat().st_size > LOG_LIMIT_BYTES:
        log_path.unlink()
    with log_path.open("ab") as log, _environment(environment):
        start = log.tell()
        try:
            gateway = launch_gateway(conf, {"stdout": log, "stderr": log})
        except Exception:
            reason = _first_error(log_path, start)
            raise ServiceError(f"Spark's JVM did not start: {reason}; its log is {log_path}") from None
        try:
            return SparkSession(SparkContext(conf=conf, gateway=gateway))
        except BaseException:
            _end_jvm(gateway)
            raise


def _stop() -> None:
    session, _Shared.session = _Shared.session, None
    if session is None:
        return
    gateway = _gateway_of(session)
    # A JVM that has died cannot say goodbye; it must not hide the error that it died of.
    with contextlib.suppress(Exception):
        session.stop()
    if gateway is not None:
        _end_jvm(gateway)


def _gateway_of(session: SparkSession) -> Any:
    """Return the link to the JVM, or None: a Connect client has no JVM."""

    return None if _is_remote(session) else SparkContext._gateway


def _end_jvm(gateway: Any) -> None:
    """End the JVM and forget it, so that the next session launches a new one."""

    SparkContext._active_spark_context = None
    SparkContext._gateway = None
    SparkContext._jvm = None
    with contextlib.suppress(Exception):
        gateway.shutdown()
    process = gateway.proc
    if process is None:
        return
    # Spark's JVM ends by itself at the end of its standard input.
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_remote(session: SparkSession) -> bool:
    return type(session).__module__.startswith("pyspark.sql.connect")


def _is_alive(session: SparkSession) -> bool:
    try:
        if _is_remote(session):
            return not session.is_stopped  # type: ignore[attr-defined]
        return not session.sparkContext._jsc.sc().isStopped()
    except Exception:
        return False


@contextlib.contextmanager
def _errors_in_one_line(settings: Settings) -> Iterator[None]:
    """Turn what Spark raises into one `ServiceError`; errors of this project pass."""
    try:
        yield
    except WorkflowError:
        raise
    except Exception as error:
        if not _is_of_spark(error):
            raise
        logger.debug("Spark failed", exc_info=error)
        message = f"Spark at {describe(settings)} failed: {_one_line(error)}"
        if not uses_local_defaults(settings) and settings.spark_remote is None:
            message += ". A cluster must run the very Spark version of this project's pyspark"
        raise ServiceError(message) from None


def _is_of_spark(error: Exception) -> bool:
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return bool(modules & {"pyspark", "py4j", "grpc"}) or isinstance(error, ConnectionError)


def _one_line(error: Exception) -> str:
    """Return what happened, without the trace."""
    text = str(error)
    java_exception = getattr(error, "java_exception", None)
    if java_exception is not None:
        with contextlib.suppress(Exception):
            text = java_exception.toString()
    if detail := re.search(r'^\s*details = "(.*)"$', text, flags=re.MULTILINE):
        text = detail[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:MESSAGE_LIMIT]


def _first_error(log_path: Path, start: int) -> str:
    """Return the first line after `start` that tells of an error."""
    with log_path.open("rb") as log:
        log.seek(start)
        text = log.read().decode("utf-8", errors="replace")
    found = re.search(r"^.*(?:Error|Exception|error:).*$", text, flags=re.MULTILINE)
    return found[0].strip()[:MESSAGE_LIMIT] if found else "it said nothing"


@contextlib.contextmanager
def _time_limit(session: SparkSession, seconds: float) -> Iterator[None]:
    """Stop what this session runs after a time: a cluster without free executors waits for ever.

    Raises:
        ServiceError: the time was up.
    """
    expired = threading.Event()

    def interrupt() -> None:
        expired.set()
        with contextlib.suppress(Exception):
            if _is_remote(session):
                session.interruptAll()
            else:
                # Jobs that can be cancelled are not all that one can wait for: end the JVM.
                SparkContext._gateway.proc.kill()  # type: ignore[union-attr]

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if not expired.is_set():
            raise
        raise ServiceError(
            f"Spark's work was not done after {seconds:.0f} s and was stopped: see whether the cluster has "
            "free executors, or raise SPARK_TIMEOUT_SECONDS"
        ) from None
    finally:
        timer.cancel()


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Set variables for the launcher, which takes them from this process, and set them back."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _log_path(settings: Settings) -> Path:
    return settings.state_dir / "logs" / "spark.log"
