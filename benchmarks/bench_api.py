"""Compare `/api/runs` with FastAPI, MLflow's model server and Mage as shipped, with the same model and request.

Run as `python -m benchmarks.bench_api PYTHON`, where PYTHON is the interpreter of the environment that
requirements/bench.lock defines. While one server is measured, the others are paused. Each figure is the median over
the rounds. Ratios compare measurements of the same round and are shown with their minimum and maximum.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import requests
from rich.table import Table

from benchmarks.servers import RunningServer, copy_repository, mage_command, run_api_command, start_server
from benchmarks.tables import markdown_table, show
from mage_server.callable_blocks import PASSENGER_EXAMPLE
from stack.console import Console
from stack.mage_client import wait_until
from workflows.common.processes import free_port, stop_process
from workflows.common.settings import REPO_PATH

CALL = {"pipeline_uuid": "ml_training_and_inference", "block_uuid": "online_inference", "variables": PASSENGER_EXAMPLE}
FASTAPI, MLFLOW, SHIPPED = "FastAPI + uvicorn", "MLflow", "Mage as shipped"
RECORD_OFF, RECORD_ON = "run_api, record off", "run_api, record on"
CLIENTS = (1, 16)


# Response times in seconds by server and number of clients: one list per round.
Results = dict[tuple[str, int], list[list[float]]]


class Target:
    """A running server and the HTTP request to measure it with."""

    def __init__(self, name: str, server: "tuple[subprocess.Popen, str]", path: str, body: Any, token: str = ""):
        self.name = name
        process, url = server
        self.process = process
        self.host, port = url.removeprefix("http://").split(":")
        self.port = int(port)
        content = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", f"Host: {self.host}:{port}", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(content)}", *([f"Authorization: Bearer {token}"] if token else []), "", ""]
        self.request = "\r\n".join(lines).encode() + content

    def measure(self, clients: int, seconds: float) -> list[float]:
        """Send the request repeatedly and return the response times in seconds."""
        command = [sys.executable, "-m", "benchmarks.load", self.host, str(self.port), str(clients), str(seconds)]
        done = subprocess.run(command, input=self.request, capture_output=True, cwd=REPO_PATH, check=False)
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.stderr.decode()[-1000:]}")
        times: list[float] = json.loads(done.stdout)
        return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", type=Path, help="interpreter of the environment with FastAPI and MLflow")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--seconds", type=float, default=4, help="seconds per measurement (default: 4)")
    parser.add_argument("--smoke", action="store_true", help="one short round")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.rounds, arguments.seconds = 1, 0.5
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-api-") as folder, contextlib.ExitStack() as stack:
        console.say(f"Mage {version('mage-ai')}, {os.cpu_count()} cores, {arguments.rounds} rounds; starting ...")
        targets = _start_servers(Path(folder), arguments.python.absolute(), stack)
        results: Results = {}
        for target in targets:
            with _others_paused(target, targets):
                target.measure(1, 2)
        for _ in range(arguments.rounds):
            for clients in CLIENTS:
                for target in targets:
                    with _others_paused(target, targets):
                        times = target.measure(clients, arguments.seconds)
                        results.setdefault((target.name, clients), []).append(times)
                        # Its background work must not slow down the next server.
                        time.sleep(3 if target.name == RECORD_ON else 0.2)
        for clients in CLIENTS:
            show(_table(results, clients, arguments.seconds), console.rich)
        with _others_paused(targets[1], targets):
            _measure_statuses(console, targets[1])


def _start_servers(folder: Path, python: Path, stack: contextlib.ExitStack) -> list[Target]:
    """Start all servers with the same model."""
    source = copy_repository(_new_folder(folder / "source"))
    models = {"STATE_DIR": str(source / "state"), "SCHEDULER_TRIGGER_INTERVAL": "10"}
    run_api = _start_mage(stack, source, folder / "run_api", run_api_command(), models)
    token = run_api.token(CALL["pipeline_uuid"])
    own = (run_api.process, run_api.url)
    fastapi = _start_peer(
        stack, [python, "-m", "uvicorn", "benchmarks.peer_fastapi:app"], folder / "fastapi.log", "/docs", models
    )
    subprocess.run(
        [python, "-m", "benchmarks.peer_mlflow", folder / "model"],
        cwd=REPO_PATH, env={**os.environ, **models}, check=True, capture_output=True,
    )  # fmt: skip
    serve = [
        python,
        "-m",
        "mlflow",
        "models",
        "serve",
        "--env-manager",
        "local",
        "-m",
        folder / "model",
        "--workers",
        "1",
    ]
    mlflow = _start_peer(stack, serve, folder / "mlflow.log", "/health", models)
    targets = [
        Target(FASTAPI, fastapi, "/predict", PASSENGER_EXAMPLE),
        Target(RECORD_OFF, own, "/api/runs", {"run": {**CALL, "record": False}}, token),
        Target(RECORD_ON, own, "/api/runs", {"run": {**CALL, "record": True}}, token),
        Target(MLFLOW, mlflow, "/invocations", {"inputs": [PASSENGER_EXAMPLE]}),
    ]
    if version("mage-ai") == "0.9.79":
        shipped = _start_mage(stack, source, folder / "shipped", mage_command(), models)
        token = shipped.token(CALL["pipeline_uuid"])
        targets.append(Target(SHIPPED, (shipped.process, shipped.url), "/api/runs", {"run": CALL}, token))
    return targets


def _start_mage(
    stack: contextlib.ExitStack, source: Path, folder: Path, command: tuple[str, ...], environment: dict[str, str]
) -> RunningServer:
    (_new_folder(folder) / "project").symlink_to(source / "project")
    server = start_server(folder, *command, **environment)
    stack.callback(server.stop)
    return server


def _start_peer(
    stack: contextlib.ExitStack, command: list[Any], log: Path, health: str, environment: dict[str, str]
) -> tuple[subprocess.Popen, str]:
    port = free_port()
    # MLflow starts uvicorn, which it looks up in PATH.
    path = f"{Path(command[0]).parent}:{os.environ['PATH']}"
    env = {**os.environ, **environment, "PYTHONPATH": str(REPO_PATH), "PATH": path}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command), "--host", "127.0.0.1", "--port", str(port)],
            cwd=REPO_PATH, env=env, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    stack.callback(lambda: process.poll() is None and stop_process(psutil.Process(process.pid)))
    url = f"http://127.0.0.1:{port}"

    def is_up_or_ended() -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(url + health, timeout=2).ok
        return process.poll() is not None

    with contextlib.suppress(TimeoutError):
        wait_until(is_up_or_ended, 60)
        if process.poll() is None:
            return process, url
    raise SystemExit(f"A peer did not start: {log.read_text()[-2000:]}")


def _new_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextlib.contextmanager
def _others_paused(target: Target, targets: list[Target]) -> Iterator[None]:
    """Pause the other servers with their schedulers and workers."""
    others = {other.process.pid for other in targets} - {target.process.pid}
    for pid in others:
        os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.killpg(pid, signal.SIGCONT)


def _quantile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def _p50_ratios(results: Results, name: str, clients: int) -> list[float]:
    pairs = zip(results[name, clients], results[FASTAPI, clients], strict=True)
    return [_quantile(own, 0.5) / _quantile(peer, 0.5) for own, peer in pairs]


def _rate_ratios(results: Results, name: str, clients: int) -> list[float]:
    pairs = zip(results[name, clients], results[FASTAPI, clients], strict=True)
    return [len(own) / len(peer) for own, peer in pairs]


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _table(results: Results, clients: int, seconds: float) -> Table:
    columns = ("server", "p50 ms", "p95 ms", "p99 ms", "calls/s", "p50 ÷ FastAPI's", "calls/s ÷ FastAPI's")
    table = markdown_table(*columns, title=f"{clients} keep-alive client{'s' if clients > 1 else ''}")
    for name, each in results:
        if each == clients:
            rounds = results[name, clients]
            quantiles = [
                f"{1000 * statistics.median(_quantile(times, share) for times in rounds):.2f}"
                for share in (0.5, 0.95, 0.99)
            ]
            rate = f"{statistics.median(len(times) for times in rounds) / seconds:.0f}"
            ratios = (_p50_ratios(results, name, clients), _rate_ratios(results, name, clients))
            table.add_row(name, *quantiles, rate, *map(_spread, ratios))
    return table


def _measure_statuses(console: Console, target: Target) -> None:
    """Measure the response time of `/api/statuses` while 16 clients send calls."""
    seconds: list[float] = []
    load = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", target.host, str(target.port), "16", "3"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=REPO_PATH,
    )  # fmt: skip
    assert load.stdin is not None
    load.stdin.write(target.request)
    load.stdin.close()
    with requests.Session() as session:
        while load.poll() is None:
            begin = time.monotonic()
            session.get(f"http://{target.host}:{target.port}/api/statuses", timeout=30)
            seconds.append(time.monotonic() - begin)
            time.sleep(0.1)
    console.say(
        "/api/statuses while 16 clients send calls without a pause: "
        f"median {1000 * statistics.median(seconds):.0f} ms, maximum {1000 * max(seconds):.0f} ms"
    )


if __name__ == "__main__":
    main()
