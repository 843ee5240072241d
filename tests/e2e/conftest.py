"""One real stack for all end-to-end tests: server, scheduler, companies API, language model, on a free port."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stack.console import Console
from stack.demo import follow, run_demo
from stack.launch import Stack, running_stack
from stack.mage_database import PipelineRun
from tests.provider import Provider
from workflows.common.processes import free_port
from workflows.common.settings import REPO_PATH, get_settings


@pytest.fixture(scope="session")
def slack() -> Iterator[Provider]:
    """A webhook that keeps the messages it gets."""
    server = Provider((200, b"ok"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def e2e_state_dir(slack: Provider) -> Iterator[Path]:
    """An empty state folder, named in the environment for this process and those it starts."""
    with tempfile.TemporaryDirectory(prefix="mage-workflows-e2e-") as folder:
        changed = {"STATE_DIR": folder, "PORT": str(free_port()), "MAGE_SLACK_WEBHOOK_URL": f"{slack.address}/hook"}
        # The stack decides where Mage and DuckDB keep their data.
        unset = ("MAGE_DATA_DIR", "MAGE_DATABASE_CONNECTION_URL", "DUCKDB_DATABASE", "REQUIRE_USER_AUTHENTICATION")
        before = {name: os.environ.get(name) for name in (*changed, *unset)}
        for name in unset:
            os.environ.pop(name, None)
        os.environ |= changed
        yield Path(folder)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@pytest.fixture(scope="session")
def console() -> Console:
    return Console()


@pytest.fixture(scope="session")
def project_before() -> dict[Path, bytes]:
    """What the project's YAML said before Mage was started."""
    return {path: path.read_bytes() for path in project_yaml()}


def project_yaml() -> list[Path]:
    """Files of the repository that Mage may want to write."""
    return sorted([*REPO_PATH.glob("*.yaml"), *(REPO_PATH / "pipelines").rglob("*.yaml")])


@pytest.fixture(scope="session")
def stack(e2e_state_dir: Path, console: Console, project_before: dict[Path, bytes]) -> Iterator[Stack]:
    """The stack, started from an empty state folder and stopped at the end."""
    with running_stack(get_settings(), console) as running:
        yield running


@pytest.fixture(scope="session")
def demo_worked(stack: Stack, console: Console) -> bool:
    """Whether the demo, run once, worked; what it left is what the tests look at."""
    return run_demo(stack, console)


@pytest.fixture(scope="session")
def demo_refreshes(stack: Stack, demo_worked: bool) -> list[PipelineRun]:
    """The refreshes of the data product that the demo made; a test that makes one asks for these first."""
    return stack.database.refreshes("core_users")


@pytest.fixture
def run_to_the_end(stack: Stack, console: Console) -> Callable[..., list[PipelineRun]]:
    """Return a function that starts a run and follows all that follows from it."""

    def run(pipeline: str, trigger: str, **variables: object) -> list[PipelineRun]:
        return follow(stack.database, stack.start_run(pipeline, trigger, variables), console)

    return run
