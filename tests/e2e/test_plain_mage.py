"""`mage start`, as anybody with a Mage project types it: no launcher, no variables but where the state goes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from benchmarks.servers import instant_model
from stack.console import Console
from stack.demo import GRAPH, follow
from stack.mage_client import wait_until
from stack.mage_database import DatabaseError, MageDatabase, PipelineRun
from workflows.common.local_services import stop_services
from workflows.common.processes import free_port, stop_process
from workflows.common.settings import REPO_PATH

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def companies_api() -> Iterator[str]:
    """The address of an API with three companies."""
    companies = json.loads((REPO_PATH / "data" / "companies.json").read_text(encoding="utf-8"))[:3]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(companies).encode())

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, companies_api: str) -> Iterator[MageDatabase]:
    """The database of a plain Mage that has just been started, with a home of its own."""
    port = free_port()
    for name in [name for name in os.environ if name.startswith("MAGE_")] + ["REQUIRE_USER_AUTHENTICATION"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DUCKDB_DATABASE", str(tmp_path / "state" / "warehouse.duckdb"))
    monkeypatch.setenv("HOME", str(tmp_path))
    # Plain Mage imports everything anew for each block, so a few companies, and so a few children, have to do.
    monkeypatch.setenv("COMPANIES_API_URL", companies_api)
    monkeypatch.setenv("SCHEDULER_TRIGGER_INTERVAL", "2")
    monkeypatch.setenv("DISABLE_AUTO_BROWSER_OPEN", "1")
    with instant_model() as model, (tmp_path / "mage.log").open("ab") as log:
        for name, value in model.items():
            monkeypatch.setenv(name, value)
        process = subprocess.Popen(
            [Path(sys.executable).with_name("mage"), "start", REPO_PATH, "--host", "127.0.0.1", "--port", str(port)],
            cwd=REPO_PATH,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            made = MageDatabase(f"sqlite:///{wait_until(lambda: next(tmp_path.rglob('mage-ai.db'), None), 180)}")
            wait_until(lambda: has_triggers(made), 180)
            yield made
        finally:
            stop_process(psutil.Process(process.pid), timeout_seconds=3)
            process.wait()
            stop_services()


def has_triggers(database: MageDatabase) -> bool:
    try:
        return bool(database.triggers("ingestion"))
    except DatabaseError:
        return False


def test_the_schedules_run_all_six_pipelines(database):
    def first(pipeline: str) -> PipelineRun:
        return wait_until(lambda: next(iter(database.runs(pipeline)), None), 120)

    console = Console()
    runs = follow(database, first("ingestion"), console) + follow(database, first("sql_python_workflow"), console)
    assert {run.pipeline for run in runs} == set(GRAPH.pipelines)
    assert {run.status for run in runs} == {"completed"}
