"""Start and stop Mage together with the local services."""

import contextlib
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from stack.console import Console
from stack.environment import database_url
from stack.mage_client import MageClient, wait_until
from stack.mage_database import DatabaseError, MageDatabase, PipelineRun, Trigger
from stack.mage_process import MageProcess, StackError, check_can_start, record_path
from stack.project_check import check_project
from stack.secrets import Secrets, load_or_create
from workflows.ai_blocks.client import describe_model, probe
from workflows.common.errors import ServiceError
from workflows.common.local_services import LocalService, ensure_service, stop_services
from workflows.common.processes import record_process, recorded_process, stop_recorded
from workflows.common.settings import Settings
from workflows.ingestion.companies import COMPANIES_API
from workflows.local_llm.model import LLM_SERVER
from workflows.spark_workflow.server import SPARK_SERVER

TRIGGERS_TIMEOUT_SECONDS = 60
# Mage's server takes up to ten seconds to end, and so does each service.
STOP_SECONDS = 45
# One that ends sooner cannot work, and would be started for ever.
SHORTEST_UPTIME_SECONDS = 60
CHECK_SERVICES_SECONDS = 10
# API triggers in the pipelines' triggers.yaml: the first two start a run, `inference` allows calls over /api/runs.
RUN_NOW = "run_now"
CALLED_FROM_CODE = "called_from_code"
INFERENCE = "inference"


@dataclass(frozen=True)
class Stack:
    """A running Mage with its local services."""

    settings: Settings
    secrets: Secrets
    server: MageProcess
    client: MageClient
    database: MageDatabase
    started_at: datetime

    def trigger(self, pipeline: str, name: str) -> Trigger:
        """Return an API trigger with its token.

        Raises:
            DatabaseError: the pipeline has no such trigger.
        """
        triggers = self.database.triggers(pipeline)
        if name not in triggers:
            raise DatabaseError(f"Pipeline {pipeline} has no trigger {name}, only {sorted(triggers)}")
        return triggers[name]

    def start_run(self, pipeline: str, trigger: str = RUN_NOW, variables: dict | None = None) -> PipelineRun:
        """Start a run through an API trigger and return it."""
        run_id = self.client.trigger(self.trigger(pipeline, trigger), variables)
        return next(run for run in self.database.runs(pipeline) if run.id == run_id)


@contextlib.contextmanager
def running_stack(settings: Settings, console: Console) -> Iterator[Stack]:
    """Start Mage and the local services, and stop them after the body, even if it or the start fails.

    Raises:
        StackError: Mage cannot start.
        ServiceError: a local service cannot start.
    """
    check_project()
    with _only_start(settings):
        check_can_start(settings)
        with _running(settings, console) as stack:
            yield stack


@contextlib.contextmanager
def _only_start(settings: Settings) -> Iterator[None]:
    """Record this process as the one that runs the stack of a state folder, so that `make stop` can end it.

    Raises:
        StackError: another process does.
    """
    path = stack_record_path(settings)
    make_private(settings.state_dir)
    # The operating system frees the lock when the process ends, however it does.
    lock = FileLock(path.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise StackError(
            f"Another make up or make demo runs with the state folder {settings.state_dir}; stop it with make stop, or "
            "choose another folder with STATE_DIR=..."
        ) from None
    try:
        record_process(psutil.Process(), path)
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _running(settings: Settings, console: Console) -> Iterator[Stack]:
    secrets = load_or_create(settings.state_dir)
    server = MageProcess(settings, secrets)
    client, database = MageClient(server.url), MageDatabase(database_url(settings))
    started_at = datetime.now(UTC)
    # The first block that needs Spark comes late: nobody waits for its start.
    spark = threading.Thread(target=_offer_spark, daemon=True)
    try:
        # Mage takes longest to start; the services start meanwhile.
        server.start()
        for service in _required_services(settings):
            with console.step(f"Starting the local {service.name.replace('_', ' ')}"):
                ensure_service(service, idle_exit_seconds=0)
        say_model(settings, console)
        with console.step("Starting Mage's server and scheduler"):
            server.wait_until_up()
            _wait_until_triggers_are_read(database, server)
        if settings.spark_remote is None:
            spark.start()
        if server.needs_sign_in and not server.checks_roles:
            say_roles(database.user_count(), console)
        yield Stack(settings, secrets, server, client, database, started_at)
    finally:
        with _uninterrupted(), console.step("Stopping Mage and the local services"):
            server.stop()
            stop_services()
            if spark.is_alive():
                spark.join()
                stop_services()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a second Ctrl-C not interrupt stopping; what this process starts later must not ignore signals, too."""
    earlier = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def keep_running(stack: Stack, console: Console) -> None:
    """Start again whatever ends unexpectedly, until this process is told to stop.

    Raises:
        StackError: Mage ended within a minute of its start.
    """
    started_at = checked_at = time.monotonic()
    while True:
        time.sleep(1)
        now = time.monotonic()
        if not stack.server.is_running():
            if now - started_at < SHORTEST_UPTIME_SECONDS:
                stack.server.check_running()
            console.say(f"Mage has ended unexpectedly and is started again; see {stack.server.log_path}")
            stack.server.start()
            stack.server.wait_until_up()
            started_at = time.monotonic()
        if now - checked_at >= CHECK_SERVICES_SECONDS:
            checked_at = now
            spark = [SPARK_SERVER] if stack.settings.spark_remote is None else []
            for service in _required_services(stack.settings) + spark:
                try:
                    ensure_service(service, idle_exit_seconds=0)
                except ServiceError as error:
                    console.say(f"Warning: {error}")


def connected_stack(settings: Settings) -> Stack:
    """Return the stack that another process runs with the state folder.

    Raises:
        StackError: there is none.
    """
    if recorded_process(record_path(settings)) is None:
        raise StackError(f"Mage does not run with the state folder {settings.state_dir}; start it with make up")
    secrets = load_or_create(settings.state_dir)
    server = MageProcess(settings, secrets)
    database = MageDatabase(database_url(settings))
    return Stack(settings, secrets, server, MageClient(server.url), database, datetime.now(UTC))


def say_roles(user_count: int, console: Console) -> None:
    """Warn where there are users for whom the owner may have meant a role with fewer rights."""
    if user_count > 1:
        console.say(
            f"Warning: There are {user_count} users, and each of them may edit and run everything: Mage checks roles "
            "only with REQUIRE_USER_PERMISSIONS=1"
        )


def say_model(settings: Settings, console: Console) -> None:
    """Print which language model answers, and warn if a key has no effect or the model does not answer."""
    console.say(f"Language model: {describe_model(settings)}")
    if settings.openai_api_key is not None and settings.uses_local_llm:
        console.say("OPENAI_API_KEY alone has no effect: set LLM_MODEL or OPENAI_BASE_URL to use a model of your own")
    if problem := probe(settings):
        console.say(f"Warning: {problem}")


def stop_leftovers(settings: Settings) -> list[str]:
    """Stop what an earlier process left running in this state folder, and return the names."""
    # The command in another terminal ends what it started, and says so there.
    stack = recorded_process(stack_record_path(settings))
    stopped = ["mage and the local services"] if stack is not None else []
    if stack is not None:
        stack.terminate()
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: recorded_process(stack_record_path(settings)) is None, STOP_SECONDS)
    # Mage first: a running block would start a stopped service again.
    stopped += ["mage"] if stop_recorded(record_path(settings)) else []
    return stopped + stop_services()


def make_private(state_dir: Path) -> None:
    """Make the state folder, and close an existing one, and the secrets in it, to other users of the machine.

    A folder of another user, or one that all share, such as /tmp, is left as it is; the secrets in it are closed.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = state_dir.stat()
    if status.st_uid == os.getuid() and not status.st_mode & stat.S_ISVTX:
        state_dir.chmod(0o700)
    for path in (state_dir / "secrets.json", state_dir / "mage" / "mage-ai.db", *state_dir.glob("services/*.key")):
        with contextlib.suppress(OSError):
            path.chmod(0o600)


def stack_record_path(settings: Settings) -> Path:
    """Return the file that identifies the process that runs the stack of a state folder."""
    return settings.state_dir / "stack.json"


def _required_services(settings: Settings) -> list[LocalService]:
    services: list[LocalService] = []
    if settings.companies_api_url is None:
        services.append(COMPANIES_API)
    if settings.uses_local_llm:
        services.append(LLM_SERVER)
    return services


def _offer_spark() -> None:
    # The next look at the services, or the block that needs it, says what is wrong.
    with contextlib.suppress(ServiceError):
        ensure_service(SPARK_SERVER, idle_exit_seconds=0)


def _wait_until_triggers_are_read(database: MageDatabase, server: MageProcess) -> None:
    """Wait until Mage has read the triggers, which it does after it first responds."""

    def is_ready() -> bool:
        server.check_running()
        try:
            return RUN_NOW in database.triggers("ingestion") and INFERENCE in database.triggers("llm_inference")
        except DatabaseError:
            return False

    try:
        wait_until(is_ready, TRIGGERS_TIMEOUT_SECONDS)
    except TimeoutError:
        raise StackError(
            f"Mage did not read the triggers of the pipelines within {TRIGGERS_TIMEOUT_SECONDS} s; "
            f"see {server.log_path}"
        ) from None
