"""The whole stack: local services and Mage, and a client that is signed in."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from stack.console import Console
from stack.mage_client import MageClient, MageError, PipelineRun, wait_until
from stack.mage_process import MageServer, StackError, check_machine, stop_recorded_server
from stack.secrets import Secrets, load_or_create
from stack.trigger_token import trigger_token
from workflows.ai_blocks.local_model import LLM_SERVER
from workflows.common.local_services import LocalService, ensure_service, stop_services
from workflows.common.settings import Settings
from workflows.ingestion.companies import COMPANIES_API

SIGN_IN_TIMEOUT_SECONDS = 60
# The trigger that the stack uses of each pipeline; all of them stand in the pipelines' triggers.yaml.
RUN_NOW = "run_now"
INFERENCE = "inference"


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    settings: Settings
    secrets: Secrets
    server: MageServer
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
            raise MageError(f"Pipeline {pipeline} has no trigger {trigger}; Mage read {sorted(triggers)}")
        return triggers[trigger]


@contextlib.contextmanager
def running_stack(settings: Settings, console: Console) -> Iterator[Stack]:
    """Start everything, yield, and stop what was started, whatever happens.

    Raises:
        StackError: something did not start; the message is one line.
    """
    check_machine(settings)
    secrets = load_or_create(settings.state_dir)
    server = MageServer(settings, secrets)
    client = MageClient(server.url, settings.owner_email, secrets.owner_password)
    started_at = datetime.now(UTC)
    try:
        # Mage takes longest to start, so the services start while it does.
        server.start()
        for service in _needed_services(settings):
            with console.step(f"Starting the local {service.name.replace('_', ' ')}"):
                ensure_service(service, idle_exit_seconds=0)
        with console.step("Starting Mage's server and scheduler"):
            server.wait_until_up()
            _wait_until_ready(client, server)
        yield Stack(settings, secrets, server, client, started_at)
    finally:
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with console.step("Stopping Mage and the local services"):
            server.stop()
            stop_services()


def stop_leftovers(settings: Settings) -> list[str]:
    """Stop what an earlier stack of this state folder left running, and return the names."""
    stopped = ["mage"] if stop_recorded_server(settings) else []
    return stopped + stop_services()


def _needed_services(settings: Settings) -> list[LocalService]:
    needed: list[LocalService] = []
    if settings.companies_api_url is None:
        needed.append(COMPANIES_API)
    if settings.uses_local_llm:
        needed.append(LLM_SERVER)
    return needed


def _wait_until_ready(client: MageClient, server: MageServer) -> None:
    """Mage answers before it has made the owner and read the triggers; wait for both."""

    def is_ready() -> bool:
        if not server.is_running():
            raise StackError(f"Mage ended while it started; see {server.log_path}")
        try:
            client.sign_in()
            return RUN_NOW in client.triggers("ingestion") and INFERENCE in client.triggers("llm_inference")
        except MageError:
            return False

    try:
        wait_until(is_ready, SIGN_IN_TIMEOUT_SECONDS)
    except TimeoutError:
        raise StackError(
            f"Cannot sign in to Mage as {server.settings.owner_email}, or it has not read the triggers; "
            f"see {server.log_path}. A password changed in the UI must also stand in "
            f"{server.settings.state_dir / 'secrets.json'}"
        ) from None
