"""How long the chain takes, from the start of SQL + Python to the end of the last pipeline.

Run as `python -m benchmarks.bench_chain`. Each stack starts on an empty state folder. The first run of the
chain is the schedule's own: it waits for the first ingestion and finds the data product stale. The others
find it fresh. There are two stacks: one with the configured language model (by default the bundled one), one
with a server that speaks the protocol and answers at once, which shows the time without the model. Its
answers fit no prompt, so every AI block ends with the text made from the facts.
"""

import argparse
import json
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rich.table import Table

from benchmarks.environment import environment
from stack.console import Console
from stack.demo import follow, start_or_join
from stack.launch import running_stack
from stack.mage_client import PipelineRun
from workflows.common.processes import free_port
from workflows.common.settings import get_settings


class InstantModel(BaseHTTPRequestHandler):
    """Answers every chat completion at once with an empty object."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "{}"}}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "instant", "choices": [choice]}
        body = json.dumps(answer | {"usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the table readable."""


@contextmanager
def instant_model() -> Iterator[dict[str, str]]:
    """Serve `InstantModel`, and yield the variables that choose it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), InstantModel) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {"OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1", "LLM_MODEL": "instant"}
        server.shutdown()
        thread.join()


def seconds_of(runs: list[PipelineRun]) -> float:
    """Return the time from the creation of the first run to the end of the last."""
    if any(run.status != "completed" for run in runs):
        raise SystemExit(f"Not completed: {[(run.pipeline, run.id, run.status) for run in runs]}")
    ends = [run.completed_at for run in runs if run.completed_at]
    return (max(ends) - min(run.created_at for run in runs)).total_seconds()


def measure(variables: dict[str, str], repeats: int, console: Console) -> list[float]:
    """Start a stack and return the seconds of the chain: the first with the data product stale."""
    with tempfile.TemporaryDirectory() as folder, environment(variables | {"STATE_DIR": folder, "LLM_CACHE": "0"}):
        settings = get_settings().model_copy(update={"port": free_port()})
        with running_stack(settings, console) as stack:
            follow(stack.client, start_or_join(stack, console, "ingestion"), console)
            first = start_or_join(stack, console, "sql_python_workflow")
            times = [seconds_of(follow(stack.client, first, console))]
            for _ in range(repeats):
                times.append(seconds_of(follow(stack.client, stack.start_run("sql_python_workflow"), console)))
            return times


def main() -> None:
    """Measure both stacks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    console = Console()
    table = Table("language model", "data product", "runs", "median s", "fastest s", "slowest s")
    with instant_model() as instant:
        for name, variables in (("answers at once", instant), ("configured", {})):
            stale, *fresh = measure(variables, repeats, console)
            for state, times in (("stale, first run", [stale]), ("fresh", fresh)):
                table.add_row(
                    name,
                    state,
                    str(len(times)),
                    f"{statistics.median(times):.1f}",
                    f"{min(times):.1f}",
                    f"{max(times):.1f}",
                )
    console.rich.print(table)


if __name__ == "__main__":
    main()
