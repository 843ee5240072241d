"""Real servers for benchmarks and tests: each has a project, a database and folders of its own."""

import atexit
import functools
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import requests

from mage_server.callable_blocks import CALLABLE_BLOCKS
from stack.project_graph import FOLDER_OF_SHOWN_TYPE, FOLDER_OF_TYPE
from workflows.common.processes import free_port, stop_process
from workflows.common.settings import REPO_PATH
from workflows.ml_training_and_inference.train_and_promote import train_survival_model
from workflows.passengers.files import load_passengers

START_SECONDS = 120


@dataclass
class RunningServer:
    """A server, with helpers to call it and to look into its database and log."""

    url: str
    folder: Path
    process: subprocess.Popen

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")

    def rows(self, statement: str, *parameters: Any) -> list[tuple]:
        with sqlite3.connect(self.folder / "mage-ai.db", timeout=30) as connection:
            return connection.execute(statement, parameters).fetchall()

    def token(self, pipeline: str, name: str | None = None) -> str:
        names = [name] if name else ["call", "inference"]
        statement = "SELECT token FROM pipeline_schedule WHERE pipeline_uuid = ? AND name IN (?, ?)"
        return str(self.rows(statement, pipeline, names[0], names[-1])[0][0])

    def post(self, body: Any, token: str | None, **kwargs: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        return requests.post(f"{self.url}/api/runs", data=data, headers=headers, timeout=60, **kwargs)

    def call(self, pipeline: str, block: str, variables: dict | None = None, **fields: Any) -> requests.Response:
        run = {"pipeline_uuid": pipeline, "block_uuid": block, "variables": variables or {}, **fields}
        return self.post({"run": run}, self.token(pipeline))

    def output(self, pipeline: str, block: str, variables: dict | None = None, **fields: Any) -> Any:
        response = self.call(pipeline, block, variables, **fields)
        assert response.status_code == 200, response.text
        return response.json()["run"]["output"]

    def wait_for_rows(self, statement: str, *parameters: Any, count: int = 1, seconds: float = 20) -> list[tuple]:
        deadline = time.monotonic() + seconds
        while len(rows := self.rows(statement, *parameters)) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(rows) >= count, f"{len(rows)} rows of {count} after {seconds} s"
        return rows

    def connect(self) -> socket.socket:
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=20)

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def stop(self) -> None:
        if self.process.poll() is None:
            stop_process(psutil.Process(self.process.pid), timeout_seconds=15)
        self.process.wait()


def start_server(folder: Path, *command: str, **environment: str) -> RunningServer:
    """Start a server on the project in `folder/project` and wait until it answers and has loaded its triggers.

    Args:
        folder: Holds the project; the server's state goes here too.
        *command: Program and first arguments; the project, `--host` and `--port` are added.
        **environment: Variables of the server on top of the defaults below.
    """
    port = free_port()
    env = {
        **os.environ,
        "PYTHONPATH": str(REPO_PATH),
        "STATE_DIR": str(folder / "state"),
        "MAGE_DATA_DIR": str(folder / "data"),
        "MAGE_DATABASE_CONNECTION_URL": f"sqlite:///{folder}/mage-ai.db?timeout=60&check_same_thread=false",
        "DISABLE_AUTO_BROWSER_OPEN": "1",
        "DISABLE_TERMINAL": "1",
        "REQUIRE_USER_AUTHENTICATION": "0",
        "HIDE_API_TRIGGER_TOKEN": "1",
        "SCHEDULER_TRIGGER_INTERVAL": "1",
        "SERVER_VERBOSITY": "info",
        **environment,
    }
    if not (folder / "mage-ai.db").exists():
        shutil.copy(database_with_tables(), folder / "mage-ai.db")
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, str(folder / "project"), "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = RunningServer(f"http://127.0.0.1:{port}", folder, process)
    wanted = sum(text.read_text().count("- name:") for text in server.project.glob("pipelines/*/triggers.yaml"))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, server.log[-4000:]
        if _is_up(server, wanted):
            return server
        time.sleep(0.2)
    server.stop()
    raise AssertionError(f"the server did not come up: {server.log[-4000:]}")


@functools.cache
def database_with_tables() -> Path:
    """Return a database with Mage's tables, which take five seconds to make: once a process, not once a server."""
    folder = Path(tempfile.mkdtemp(prefix="mage-tables-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "mage-ai.db"
    environment = os.environ | {
        "MAGE_DATA_DIR": str(folder / "data"),
        "MAGE_DATABASE_CONNECTION_URL": f"sqlite:///{path}",
        "STATE_DIR": str(folder / "state"),
    }
    make = "from mage_ai.orchestration.db.database_manager import database_manager as it; it.run_migrations()"
    subprocess.run([sys.executable, "-c", make], cwd=folder, env=environment, check=True, capture_output=True)
    return path


def copy_repository(folder: Path) -> Path:
    """Copy the pipelines with callable blocks into `folder/project`, train a model for them, and return `folder`."""
    project = folder / "project"
    for name in ("metadata.yaml", "io_config.yaml", "global_data_products.yaml"):
        project.mkdir(exist_ok=True)
        shutil.copy(REPO_PATH / name, project / name)
    for pipeline in {block.pipeline for block in CALLABLE_BLOCKS}:
        shutil.copytree(REPO_PATH / "pipelines" / pipeline, project / "pipelines" / pipeline)
    for name in (*FOLDER_OF_TYPE.values(), *FOLDER_OF_SHOWN_TYPE.values()):
        shutil.copytree(REPO_PATH / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    passengers = load_passengers(str(REPO_PATH / "data" / "titanic.csv"))
    train_survival_model(passengers, folder / "state" / "models", repeats=1)
    return folder


def run_api_command() -> tuple[str, ...]:
    return (sys.executable, "-m", "mage_server")


def mage_command() -> tuple[str, ...]:
    return (str(Path(sys.executable).with_name("mage")), "start")


class InstantModel(BaseHTTPRequestHandler):
    """Answers every chat completion at once: with a line of its material as a fun fact, which only fits that prompt."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        material = re.search(r"^- (.+)$", asked, re.MULTILINE)
        content = json.dumps({"fun_fact": material[1], "claims": []} if material else {})
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "instant", "choices": [choice]}
        body = json.dumps(answer | {"usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing to the terminal."""


class InstantModelServer(ThreadingHTTPServer):
    """Ends although a client keeps a connection open."""

    daemon_threads = True


@contextmanager
def instant_model() -> Iterator[dict[str, str]]:
    """Serve `InstantModel`, and yield the environment variables that choose it."""
    with InstantModelServer(("127.0.0.1", 0), InstantModel) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield {"OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1", "LLM_MODEL": "instant"}
        finally:
            server.shutdown()
            thread.join()


def _is_up(server: RunningServer, triggers: int) -> bool:
    try:
        if not requests.get(f"{server.url}/api/statuses", timeout=5).ok:
            return False
        return server.rows("SELECT count(*) FROM pipeline_schedule WHERE token IS NOT NULL")[0][0] >= triggers
    except (requests.RequestException, sqlite3.Error):
        return False
