"""Start and stop Mage together with the local services."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from stack.console import Console
from stack.mage_client import MageClient, MageError, PipelineRun, wait_until
from stack.mage_process import MageProcess, StackError, check_can_start, record_path
from stack.secrets import Secrets, load_or_create
from stack.trigger_token import trigger_token
from workflows.ai_blocks.client import describe_model, probe
from workflows.ai_blocks.local_model import LLM_SERVER
from workflows.common.local_services import LocalService, ensure_service, stop_services
from workflows.common.processes import stop_recorded
from workflows.common.settings import Settings
from workflows.ingestion.companies import COMPANIES_API

SIGN_IN_TIMEOUT_SECONDS = 60
# API triggers in the pipelines' triggers.yaml: `run_now` starts a run, `inference` allows calls over /api/runs.
RUN_NOW = "run_now"
INFERENCE = "inference"


@dataclass(frozen=True)
class Stack:
    """A running Mage with its local services, and a client that is signed in."""

    settings: Settings
    secrets: Secrets
    server: MageProcess
    client: MageClient
    started_at: datetime

    def token(self, pipeline: str, trigger: str) -> str:
        """Return the token of an API trigger."""
        return trigger_token(self.settings, self._trigger_id(pipeline, trigger))

    def start_run(self, pipeline: str, trigger: str = RUN_NOW, variables: dict | None = None) -> PipelineRun:
        """Start a run through an API trigger and return it."""
        trigger_id = self._trigger_id(pipeline, trigger)
        run_id = self.client.trigger(trigger_id, trigger_token(self.settings, trigger_id), variables)
        return next(run for run in self.client.runs(pipeline) if run.id == run_id)

    def _trigger_id(self, pipeline: str, trigger: str) -> int:
        triggers = self.client.triggers(pipeline)
        if trigger not in triggers:
            raise MageError(f"Pipeline {pipeline} has no trigger {trigger}, only {sorted(triggers)}")
        return triggers[trigger]


@contextlib.contextmanager
def running_stack(settings: Settings, console: Console) -> Iterator[Stack]:
    """Start Mage and the local services, and stop them after the body, even if it or the start fails.

    Raises:
        StackError: Mage cannot start.
        ServiceError: a local service cannot start.
    """
    check_can_start(settings)
    secrets = load_or_create(settings.state_dir)
    server = MageProcess(settings, secrets)
    client = MageClient(server.url, settings.owner_email, secrets.owner_password)
    started_at = datetime.now(UTC)
    try:
        # Mage takes longest to start; the services start meanwhile.
        server.start()
        for service in _required_services(settings):
            with console.step(f"Starting the local {service.name.replace('_', ' ')}"):
                ensure_service(service, idle_exit_seconds=0)
        with console.step("Starting Mage's server and scheduler"):
            server.wait_until_up()
            _wait_until_ready(client, server)
        say_model(settings, console)
        yield Stack(settings, secrets, server, client, started_at)
    finally:
        # A second Ctrl-C must not interrupt stopping.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with console.step("Stopping Mage and the local services"):
            server.stop()
            stop_services()


def say_model(settings: Settings, console: Console) -> None:
    """Print which language model answers, and warn if a key has no effect or the model does not answer."""
    console.say(f"Language model: {describe_model(settings)}")
    if settings.openai_api_key is not None and settings.uses_local_llm:
        console.say("OPENAI_API_KEY alone has no effect: set LLM_MODEL or OPENAI_BASE_URL to use a model of your own")
    if problem := probe(settings):
        console.say(f"Warning: {problem}")


def stop_leftovers(settings: Settings) -> list[str]:
    """Stop what an earlier process left running in this state folder, and return the names."""
    # Mage first: a running block would start a stopped service again.
    stopped = ["mage"] if stop_recorded(record_path(settings)) else []
    return stopped + stop_services()


def _required_services(settings: Settings) -> list[LocalService]:
    services: list[LocalService] = []
    if settings.companies_api_url is None:
        services.append(COMPANIES_API)
    if settings.uses_local_llm:
        services.append(LLM_SERVER)
    return services


def _wait_until_ready(client: MageClient, server: MageProcess) -> None:
    """Wait until Mage has created the owner and read the triggers, which it does after it first responds."""

    def is_ready() -> bool:
        server.check_running()
        try:
            client.sign_in()
            return RUN_NOW in client.triggers("ingestion") and INFERENCE in client.triggers("llm_inference")
        except MageError:
            return False

    try:
        wait_until(is_ready, SIGN_IN_TIMEOUT_SECONDS)
    except TimeoutError:
        raise StackError(
            f"Mage did not accept the login of {server.settings.owner_email} or did not read the triggers within "
            f"{SIGN_IN_TIMEOUT_SECONDS} s; see {server.log_path}. If you changed the password in the UI, change it in "
            f"{server.settings.state_dir / 'secrets.json'}, too"
        ) from None
