"""The start where other programs have left their marks: a proxy, no sign-in, another address, a second start."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from stack.console import Console
from stack.demo import follow
from stack.launch import connected_stack
from stack.mage_client import wait_until
from workflows.common.processes import free_port
from workflows.common.settings import REPO_PATH, get_settings

pytestmark = pytest.mark.timeout(600)
# Nothing listens there.
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAGE_DATA_DIR", "MAGE_DATABASE_CONNECTION_URL", "DUCKDB_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    changed = {
        **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE),
        "STATE_DIR": str(tmp_path / "state"),
        "PORT": str(free_port()),
        "REQUIRE_USER_AUTHENTICATION": "0",
        "OWNER_EMAIL": "somebody@example.com",
        "MAGE_BASE_PATH": "mage",
        "LISTEN_ADDRESS": "::1",
        "OPENAI_API_KEY": "sk-of-the-shell",
        "OPENAI_BASE_URL": f"{NOWHERE}/v1",
        "LLM_MODEL": "small",
    }
    for name, value in changed.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, Path]]:
    """The command `make up` in another terminal, and what it prints."""
    output = tmp_path / "up.log"
    with output.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack", "up"], cwd=REPO_PATH, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: process.poll() is not None or "Serving." in output.read_text(), 180)
        assert process.poll() is None, output.read_text()
        yield process, output
    finally:
        process.terminate()
        process.wait(60)


def stack_command(command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "stack", command],
        check=False,
        cwd=REPO_PATH,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_pipelines_run_a_second_start_is_refused_and_stop_ends_it_quietly(up):
    process, output = up
    assert "Warning: The language model small" in output.read_text()
    assert "sk-of-the-shell" not in output.read_text()
    stack = connected_stack(get_settings())
    assert "/mage" in stack.server.url
    for pipeline, trigger in (("ingestion", "run_now"), ("spark_workflow", "called_from_code")):
        runs = follow(stack.database, stack.start_run(pipeline, trigger), Console())
        assert {run.status for run in runs} == {"completed"}

    second = stack_command("up")
    assert second.returncode == 1
    assert "Another make up or make demo runs with the state folder" in second.stdout
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"{stack.server.url}/api/runs/health/live", timeout=30).ok

    stopped = stack_command("stop")
    assert (stopped.returncode, process.wait(60)) == (0, 0)
    assert stopped.stdout.startswith("Stopped")
    said = output.read_text().splitlines()
    assert said[-1] == "Stopped"
    assert not any("Error" in line or "Traceback" in line for line in said)
    assert stack_command("stop").stdout.strip() == "Nothing was running"
