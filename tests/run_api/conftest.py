"""Servers that the tests of this folder share; each starts when the first test asks for it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import (
    RunningServer,
    copy_repository,
    instant_model,
    mage_command,
    run_api_command,
    start_server,
)

SMALL_PROJECT = Path(__file__).parent / "project"


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    """A folder with a copy of the small project."""
    return _with_small_project(tmp_path)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The server as it is by default."""
    yield from _running(_with_small_project(tmp_path_factory.mktemp("server")), *run_api_command())


@pytest.fixture(scope="session")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose limits are soon reached."""
    yield from _running(
        _with_small_project(tmp_path_factory.mktemp("tight")),
        *run_api_command(),
        RUN_API_WORKERS="2",
        RUN_API_QUEUE="2",
        RUN_API_TIMEOUT_SECONDS="1.5",
        RUN_API_MAX_BODY_BYTES="4096",
        RUN_API_BODY_TIMEOUT_SECONDS="1",
    )


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory, trained_repository: Path) -> Iterator[RunningServer]:
    """Mage as it is installed, on the small project and the repository together."""
    folder = tmp_path_factory.mktemp("shipped")
    shutil.copytree(trained_repository, folder, dirs_exist_ok=True)
    yield from _running(_with_small_project(folder), *mage_command())


@pytest.fixture(scope="session")
def trained_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two pipelines of this repository that are called, and a trained model."""
    return copy_repository(tmp_path_factory.mktemp("trained_repository"))


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, trained_repository: Path) -> Iterator[RunningServer]:
    """The two pipelines of this repository that are called, with a trained model and no decision framework."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(trained_repository, folder, dirs_exist_ok=True)
    with instant_model() as environment:
        yield from _running(folder, *run_api_command(), **environment)


def _with_small_project(folder: Path) -> Path:
    shutil.copytree(SMALL_PROJECT, folder / "project", dirs_exist_ok=True)
    return folder


def _running(folder: Path, *command: str, **environment: str) -> Iterator[RunningServer]:
    server = start_server(folder, *command, **environment)
    yield server
    server.stop()
