"""Real servers on the small project of tests/run_api, with and without authentication."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.servers import RunningServer, run_api_command, start_server
from stack.mage_client import CLIENT_ID

SMALL_PROJECT = Path(__file__).parents[1] / "run_api" / "project"
OWNER = "owner@localhost.localdomain"
VIEWER = "viewer@localhost.localdomain"
PASSWORD = "correct horse battery"
FOREIGN = "http://evil.example"


@dataclass
class Client:
    """A caller of a server, as a program: no cookie, no Origin."""

    server: RunningServer
    token: str | None = None

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, **kwargs: Any) -> requests.Response:
        own = {"X-API-KEY": CLIENT_ID} | ({"OAUTH-TOKEN": self.token} if self.token else {})
        return requests.request(method, self.server.url + path, headers=own | (headers or {}), timeout=60, **kwargs)

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self.send("GET", path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> requests.Response:
        return self.send("POST", path, **kwargs)


def sign_in(server: RunningServer, email: str, password: str = PASSWORD) -> requests.Response:
    return Client(server).post("/api/sessions", json={"session": {"email": email, "password": password}})


def session_token(server: RunningServer, email: str) -> str:
    """Sign in and return the token, once Mage has created the user."""
    deadline = time.monotonic() + 60
    while (session := sign_in(server, email).json().get("session")) is None and time.monotonic() < deadline:
        time.sleep(1.5)
    assert session is not None
    # The answer holds the token in the form of the UI's cookie.
    return str(server.rows("SELECT token FROM oauth2_access_token ORDER BY id DESC LIMIT 1")[0][0])


def make_project(folder: Path) -> Path:
    """Copy the small project, with a state folder in it that holds a secret."""
    shutil.copytree(SMALL_PROJECT, folder / "project")
    state = folder / "project" / ".state"
    state.mkdir()
    (state / "secrets.json").write_text('{"owner_password": "SECRET-OF-STATE"}')
    (folder / "outside.txt").write_text("SECRET-OUTSIDE")
    (folder / "project" / "link.txt").symlink_to(folder / "outside.txt")
    (folder / "project" / ".env").write_text("KEY=SECRET-OF-ENV")
    return folder


def start_locked(folder: Path, **environment: str) -> RunningServer:
    """Start a server with authentication, where the role of a user decides what it may do."""
    return start_server(
        make_project(folder),
        *run_api_command(),
        **{
            "STATE_DIR": str(folder / "project" / ".state"),
            "REQUIRE_USER_AUTHENTICATION": "1",
            "DEFAULT_OWNER_EMAIL": OWNER,
            "DEFAULT_OWNER_USERNAME": "owner",
            "DEFAULT_OWNER_PASSWORD": PASSWORD,
            "JWT_SECRET": "a secret of this test only, long enough",
            **environment,
        },
    )


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that a proxy serves under a public name, too."""
    server = start_locked(tmp_path_factory.mktemp("locked"), ALLOWED_HOSTS="mage.example.com, other.example")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def with_terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The same, with the UI's terminal."""
    server = start_locked(tmp_path_factory.mktemp("with_terminal"), DISABLE_TERMINAL="0")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def terminal_owner(with_terminal: RunningServer) -> Client:
    return Client(with_terminal, session_token(with_terminal, OWNER))


@pytest.fixture(scope="session")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server without authentication, as on one's own machine."""
    server = start_server(make_project(tmp_path_factory.mktemp("open")), *run_api_command())
    yield server
    server.stop()


@pytest.fixture
def throttled(tmp_path: Path) -> Iterator[RunningServer]:
    """A server whose sign-ins no other test uses."""
    server = start_locked(tmp_path)
    session_token(server, OWNER)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def stranger(locked: RunningServer) -> Client:
    return Client(locked)


@pytest.fixture(scope="session")
def owner(locked: RunningServer) -> Client:
    return Client(locked, session_token(locked, OWNER))


@pytest.fixture(scope="session")
def viewer(locked: RunningServer, owner: Client) -> Client:
    roles = owner.get("/api/roles").json()["roles"]
    role = next(role["id"] for role in roles if role["name"] == "Viewer")
    user = {
        "email": VIEWER,
        "username": "viewer",
        "password": PASSWORD,
        "password_confirmation": PASSWORD,
        "roles_new": [role],
    }
    # On Mage 0.9.80 the answer is an error, as it cannot list the permissions of the user that it has made.
    owner.post("/api/users", json={"user": user})
    return Client(locked, session_token(locked, VIEWER))
