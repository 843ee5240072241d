"""A stack with a state folder of its own for each module of faults."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.up import Up
from workflows.common.processes import free_port

# What a developer's shell may say must not decide where the state goes.
UNSET = ("MAGE_DATA_DIR", "MAGE_DATABASE_CONNECTION_URL", "DUCKDB_DATABASE", "REQUIRE_USER_AUTHENTICATION")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Up]]:
    """Return a function that takes further settings and returns the command `make up`, not yet started."""
    folder: Path = tmp_path_factory.mktemp("up")
    made: list[Up] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in UNSET:
            patch.delenv(name, raising=False)
        patch.setenv("STATE_DIR", str(folder / "state"))
        patch.setenv("PORT", str(free_port()))

        def make(**settings: str) -> Up:
            for name, value in settings.items():
                patch.setenv(name, value)
            made.append(Up(folder / "up.log"))
            return made[-1]

        yield make
        for one in made:
            one.stop()
