"""Measure the ingestion of many companies over HTTP into DuckDB, beside dlt and DuckDB's read_json of a file.

Run as `python -m benchmarks.bench_ingest`. The companies come in pages, or in one list. Each run is a process,
whose peak memory is measured; Mage adds about 90 MB. All ways take turns, and no record is wrong, but for one in a
hundred where the table says so. dlt, in an environment that `make setup-bench-dlt` makes, loads Parquet
files; the rest is its defaults.
"""

import argparse
import json
import multiprocessing
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb

from benchmarks.tables import markdown_table, ratio, show, spread
from stack.console import Console
from workflows.common.settings import REPO_PATH, Settings
from workflows.ingestion.companies import export_companies, load_companies, round_employee_count

PAGE_ROWS = 1000
BASELINE = "DuckDB's read_json, from a file"
DLT_PYTHON = REPO_PATH / ".venv-bench-dlt" / "bin" / "python"


def company(number: int, wrong_every: int = 0) -> str:
    """Return a company as JSON; every so many have a market capitalisation below zero."""
    market_cap = -1 if wrong_every and number % wrong_every == 0 else number * 1000
    return (
        f'{{"id": {number}, "name": "Company number {number}", "address": "{number} Harbour Road, Aberdeen", '
        f'"zip": "AB11 5QX", "country": "United Kingdom", "employeeCount": {number}.5, "industry": "Energy", '
        f'"marketCap": {market_cap}, "domain": "company-{number}.example", '
        f'"logo": "https://company-{number}.example/logo.png", "ceoName": "Isla Murray"}}'
    )


class Handler(BaseHTTPRequestHandler):
    """Answers `/list` with all companies, `/pages` with a page of them, `/wrong` with one where some are wrong."""

    # Keeps the connection open, as real servers do.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/list":
            body = self.server.file.read_bytes()
        else:
            page = int(parse_qs(parts.query).get("page", ["0"])[0])
            body = (self.server.wrong if parts.path == "/wrong" else self.server.pages)[page]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the output clean."""


class Server(ThreadingHTTPServer):
    """An API with many companies, made before it is asked."""

    daemon_threads = True

    def __init__(self, file: Path, rows: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.file = file
        self.pages = list(pages_of(rows))
        self.wrong = list(pages_of(rows, 100))


def pages_of(rows: int, wrong_every: int = 0) -> Iterator[bytes]:
    count = -(-rows // PAGE_ROWS)
    for page in range(count):
        numbers = range(page * PAGE_ROWS, min(rows, (page + 1) * PAGE_ROWS))
        records = ", ".join(company(number, wrong_every) for number in numbers)
        yield f'{{"data": [{records}], "page": {page}, "total_pages": {count}}}'.encode()


@contextmanager
def serving(file: Path, rows: int) -> Iterator[str]:
    with Server(file, rows) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def ingest(url: str) -> None:
    """Do what the three blocks of the pipeline do."""
    with tempfile.TemporaryDirectory() as folder:
        database = f"{folder}/warehouse.duckdb"
        companies = load_companies(Settings(), url, database, None)
        export_companies(database, round_employee_count(companies))


def read_json(file: str) -> None:
    """Let DuckDB read the file into a table."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(f"{folder}/warehouse.duckdb") as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"CREATE TABLE companies AS SELECT * FROM read_json('{file}')")


def run_dlt(url: str, rows: int) -> tuple[float, float]:
    """Return the seconds and the peak memory in MB of dlt."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [DLT_PYTHON, "-m", "benchmarks.peer_dlt", url, folder],
            cwd=REPO_PATH, env={"PATH": "", "RUNTIME__DLTHUB_TELEMETRY": "false", "HOME": folder},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"dlt: {done.stderr[-2000:]}")
    seconds, megabytes, loaded = json.loads(done.stdout.splitlines()[-1])
    if loaded != rows:
        raise SystemExit(f"dlt loaded {loaded:,} of {rows:,} companies")
    return seconds, megabytes


def measured(work: Callable[[str], None], argument: str) -> tuple[float, float]:
    """Return seconds and peak memory in MB of a process that does the work."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(work, argument, sender))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} failed")
    found: tuple[float, float] = receiver.recv()
    return found


def _measure(work: Callable[[str], None], argument: str, sender: object) -> None:
    started = time.monotonic()
    work(argument)
    seconds = time.monotonic() - started
    sender.send((seconds, _peak_megabytes()))  # type: ignore[attr-defined]


def _peak_megabytes() -> float:
    """Return the peak memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():
        # The other figure starts with the memory of the process that started this one.
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-dlt", action="store_true", help="leave out dlt, which takes longest")
    parser.add_argument("--smoke", action="store_true", help="a thousand rows, one run")
    options = parser.parse_args()
    rows, repeats = (1000, 1) if options.smoke else (options.rows, options.repeats)
    if not (options.no_dlt or DLT_PYTHON.exists()):
        raise SystemExit("No environment of dlt; make one with make setup-bench-dlt")
    table = markdown_table("companies", "rows", "runs", "median s", "spread s", "÷ DuckDB's", "peak MB")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "companies.json"
        file.write_text("[" + ",\n".join(map(company, range(rows))) + "]")
        with serving(file, rows) as url:
            ways: dict[str, Callable[[], tuple[float, float]]] = {
                BASELINE: lambda: measured(read_json, str(file)),
                "in pages": lambda: measured(ingest, f"{url}/pages"),
                "in pages, 1 in 100 set aside": lambda: measured(ingest, f"{url}/wrong"),
                "in one list": lambda: measured(ingest, f"{url}/list"),
            }
            if not options.no_dlt:
                ways["dlt, in pages"] = lambda: run_dlt(f"{url}/pages", rows)
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for _ in range(repeats):
                for name, measure in ways.items():
                    found[name].append(measure())
    baseline = [seconds for seconds, _ in found[BASELINE]]
    for name, runs in found.items():
        seconds = [one for one, _ in runs]
        memory = f"{max(memory for _, memory in runs):.0f}"
        table.add_row(name, f"{rows:,}", str(len(runs)), *spread(seconds), ratio(seconds, baseline), memory)
    show(table, Console().rich)


if __name__ == "__main__":
    main()
