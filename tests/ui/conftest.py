"""One stack for a module of tests of the UI, on a copy of the repository, and one signed-in browser window."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.servers import database_with_tables, instant_model
from stack.launch import Stack
from tests.up import Up
from workflows.common.processes import free_port
from workflows.common.settings import REPO_PATH

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PAGE_SECONDS = 90


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's Chromium, else the one that playwright has installed."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        path = found or playwright.chromium.executable_path
        if not Path(path).is_file():
            pytest.skip("no browser: install Debian's chromium, or run playwright install chromium")
        # As root, Chromium starts only without its sandbox; it opens nothing but the server of the test.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.getuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository under version control, which clicks may change."""
    folder = tmp_path_factory.mktemp("ui") / "project"
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPO_PATH)
    for name in filter(None, listed.split("\0")):
        if (REPO_PATH / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO_PATH / name, folder / name)
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", "--all", cwd=folder)
    run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "Copy", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def stack(browser: Browser, project: Path) -> Iterator[Stack]:
    """The stack as `make up` starts it, with a model that answers at once; without a browser it is not started."""
    state = project.parent / "state"
    (state / "mage").mkdir(parents=True)
    shutil.copy(database_with_tables(), state / "mage" / "mage-ai.db")
    # The stack decides where Mage and DuckDB keep their data.
    unset = ("MAGE_DATA_DIR", "MAGE_DATABASE_CONNECTION_URL", "DUCKDB_DATABASE", "REQUIRE_USER_AUTHENTICATION")
    with pytest.MonkeyPatch.context() as patch, instant_model() as model:
        for name in unset:
            patch.delenv(name, raising=False)
        for name, value in {**model, "STATE_DIR": str(state), "PORT": str(free_port())}.items():
            patch.setenv(name, value)
        up = Up(project.parent / "up.log", project)
        try:
            yield up.start()
        finally:
            up.stop()


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """A window in which the owner is signed in."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(1000 * PAGE_SECONDS)
    # Mage's UI warns of a restarted kernel wherever a busy one has not answered within three seconds.
    page.add_init_script("localStorage.setItem('hide_kernel_warning', 1)")
    page.goto(f"{stack.server.url}/sign-in")
    page.get_by_placeholder("Email").fill(stack.settings.owner_email)
    page.get_by_placeholder("Password").fill(stack.secrets.owner_password)
    page.get_by_role("button", name="Sign into Mage").click()
    page.wait_for_url("**/overview**")
    yield page
    page.close()


def run(*command: str, cwd: Path) -> str:
    """Return what a command prints."""
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout
