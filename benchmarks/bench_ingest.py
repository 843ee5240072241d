"""Measure the ingestion of many companies over HTTP into DuckDB, beside DuckDB reading the same list from a file.

Run as `python -m benchmarks.bench_ingest`. The companies come in pages, or in one list. Each run is a process,
whose peak memory is measured; Mage adds about 90 MB.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb
from rich.table import Table

from stack.console import Console
from workflows.common.settings import Settings
from workflows.ingestion.companies import export_companies, load_companies, round_employee_count

PAGE_ROWS = 1000
BASELINE = "DuckDB's read_json, from a file"


def company(number: int) -> str:
    return (
        f'{{"id": {number}, "name": "Company number {number}", "address": "{number} Harbour Road, Aberdeen", '
        f'"zip": "AB11 5QX", "country": "United Kingdom", "employeeCount": {number}.5, "industry": "Energy", '
        f'"marketCap": {number * 1000}, "domain": "company-{number}.example", '
        f'"logo": "https://company-{number}.example/logo.png", "ceoName": "Isla Murray"}}'
    )


class Handler(BaseHTTPRequestHandler):
    """Answers `/list` with all companies, `/pages` with a page of them."""

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
            body = self.server.pages[page]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the output clean."""


class Server(ThreadingHTTPServer):
    """An API with many companies, made before it is asked."""

    def __init__(self, file: Path, rows: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.file = file
        count = -(-rows // PAGE_ROWS)
        self.pages = [
            f'{{"data": [{", ".join(map(company, range(page * PAGE_ROWS, min(rows, (page + 1) * PAGE_ROWS))))}], '
            f'"page": {page}, "total_pages": {count}}}'.encode()
            for page in range(count)
        ]


@contextmanager
def serving(file: Path, rows: int) -> Iterator[str]:
    with Server(file, rows) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
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
    options = parser.parse_args()
    table = Table("companies", "rows", "runs", "median s", "fastest s", "slowest s", "÷ DuckDB", "peak MB", box=None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "companies.json"
        file.write_text("[" + ",\n".join(map(company, range(options.rows))) + "]")
        with serving(file, options.rows) as url:
            ways = {
                BASELINE: (read_json, str(file)),
                "in pages": (ingest, f"{url}/pages"),
                "in one list": (ingest, f"{url}/list"),
            }
            found = {name: [] for name in ways}
            for _ in range(options.repeats):
                for name, (work, argument) in ways.items():
                    found[name].append(measured(work, argument))
    baseline = statistics.median(seconds for seconds, _ in found[BASELINE])
    for name, runs in found.items():
        seconds = [one for one, _ in runs]
        median = statistics.median(seconds)
        figures = (median, min(seconds), max(seconds), median / baseline)
        memory = f"{max(memory for _, memory in runs):.0f}"
        table.add_row(name, f"{options.rows:,}", str(len(runs)), *(f"{one:.1f}" for one in figures), memory)
    Console().rich.print(table)


if __name__ == "__main__":
    main()
