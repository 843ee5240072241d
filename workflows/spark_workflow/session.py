"""A session at a Spark Connect server for each block: somebody else's by `SPARK_REMOTE`, else that of this machine."""

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import cast

import grpc
from pyspark.sql import SparkSession
from pyspark.sql.connect.client import DefaultChannelBuilder
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.connect.session import SparkSession as ConnectSession

from workflows.common.errors import ServiceError, WorkflowError
from workflows.common.local_services import ensure_service, running_service, service_key
from workflows.common.settings import Settings, get_settings
from workflows.spark_workflow.config import check_reachable, describe, read_spark_defaults, uses_local_defaults
from workflows.spark_workflow.server import SPARK_SERVER

logger = logging.getLogger(__name__)

# With the client's backoff, about four seconds; by itself it goes on for ten minutes.
CONNECT_RETRIES = 4
MESSAGE_LIMIT = 500


class LocalChannel(DefaultChannelBuilder):
    """A channel that does not leave this machine: without TLS and without a proxy."""

    def toChannel(self) -> grpc.Channel:
        """Return the channel."""
        self.setChannelOption("grpc.enable_http_proxy", 0)
        return self._insecure_channel(self.endpoint)


@contextlib.contextmanager
def spark_session() -> Iterator[SparkSession]:
    """Yield a new session, and close it at the end; the server stays for the next block.

    What fails in Spark leaves as one clear line.

    Raises:
        ServiceError: no Java, the master or server cannot be reached, or work in Spark failed or took too long.
    """
    settings = get_settings()
    with _errors_in_one_line(settings):
        session = ConnectSession.builder.channelBuilder(_channel(settings)).create()
        # Otherwise pyspark.sql.functions look for a JVM in this process.
        os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"
        session.client.set_retry_policies([DefaultPolicy(max_retries=CONNECT_RETRIES)])
        if settings.spark_remote is None:
            # No network lies between; and what a block asked for ends with the block.
            session.client.disable_reattachable_execute()
        logger.info("Spark runs at %s", describe(settings))
        try:
            with _time_limit(session, settings.spark_timeout_seconds):
                yield cast(SparkSession, session)
        finally:
            # A server that has died cannot say goodbye; it must not hide the error that it died of.
            with contextlib.suppress(Exception):
                session.stop()


def _channel(settings: Settings) -> DefaultChannelBuilder:
    check_reachable(settings)
    if settings.spark_remote is not None:
        return DefaultChannelBuilder(settings.spark_remote)
    url = ensure_service(SPARK_SERVER)
    channel = LocalChannel(f"sc://{url.removeprefix('http://')}")
    key = read_spark_defaults(settings).get("spark.connect.authenticate.token") or service_key(SPARK_SERVER)
    channel.set("authorization", f"Bearer {key}")
    return channel


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
        if settings.spark_remote is None and running_service(SPARK_SERVER) is None:
            log_path = settings.state_dir / "logs" / f"{SPARK_SERVER.name}.log"
            message += f". Its server has ended, see {log_path}; the next execution of the block starts it again"
        elif settings.spark_remote is None and not uses_local_defaults(settings):
            message += ". A cluster must run the very Spark version of this project's pyspark"
        raise ServiceError(message) from None


def _is_of_spark(error: Exception) -> bool:
    return bool({kind.__module__.split(".")[0] for kind in type(error).__mro__} & {"pyspark", "grpc"})


def _one_line(error: Exception) -> str:
    """Return what happened, without the trace."""
    text = str(error)
    if detail := re.search(r'^\s*details = "(.*)"$', text, flags=re.MULTILINE):
        text = detail[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:MESSAGE_LIMIT]


@contextlib.contextmanager
def _time_limit(session: ConnectSession, seconds: float) -> Iterator[None]:
    """Stop what this session runs after a time: a cluster without free executors waits for ever.

    Raises:
        ServiceError: the time was up.
    """
    expired = threading.Event()

    def interrupt() -> None:
        expired.set()
        with contextlib.suppress(Exception):
            session.interruptAll()

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
