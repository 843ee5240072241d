"""The demo: ingestion, SQL + Python and all that follows from it, then the two documented calls."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table

from mage_server.callable_blocks import CALLABLE_BLOCKS, CallableBlock
from stack.console import Console
from stack.launch import INFERENCE, Stack
from stack.mage_client import MageClient, MageError, PipelineRun, children

CHAIN = (
    "sql_python_workflow",
    "dynamic_blocks_workflow",
    "spark_workflow",
    "ml_training_and_inference",
    "llm_inference",
)
# Which pipelines a completed run of a pipeline has started.
STARTS = {
    "sql_python_workflow": ("dynamic_blocks_workflow", "ml_training_and_inference"),
    "dynamic_blocks_workflow": ("spark_workflow",),
    "ml_training_and_inference": ("llm_inference",),
}
DATA_PRODUCT = "core_users"
REFRESH = "GLOBAL_DATA_PRODUCT_TRIGGER"
TIMEOUT_SECONDS = 900
POLL_SECONDS = 1


# The documented calls, with the variables that the schemas give as examples.
CALLS = tuple(block for block in CALLABLE_BLOCKS if block.block in ("online_inference", "will_i_survive"))


def run_demo(stack: Stack, console: Console) -> bool:
    """Run the chain and the calls, print what came out, and say whether all of it worked."""
    console.heading("Ingestion")
    ingestion = follow(stack.client, start_or_join(stack, console, "ingestion"), console)
    runs = list(ingestion)
    if _all_completed(ingestion):
        console.heading("SQL + Python, and all that it starts")
        runs += follow(stack.client, start_or_join(stack, console, "sql_python_workflow"), console)
    console.heading("Pipeline runs")
    console.rich.print(_table(runs))
    chain_worked = _all_completed(runs) and {run.pipeline for run in runs} == {"ingestion", *CHAIN}
    facts: list[str] = next(
        (run.variables.get("fun_facts", []) for run in runs if run.pipeline == "spark_workflow"), []
    )
    console.heading(f"Fun facts ({len(facts)})")
    for fact in facts:
        console.say(f"  - {fact}")
    answered = [_call(stack, call, console) for call in CALLS]
    return chain_worked and all(answered)


def say_where(stack: Stack, console: Console) -> None:
    """Print the address of the UI, the login, and the two calls ready to paste."""
    console.heading("Mage")
    console.say(f"  UI        {stack.server.url}")
    console.say(f"  login     {stack.settings.owner_email}")
    console.say(f"  password  {stack.secrets.owner_password}")
    console.heading("The two calls, ready to paste")
    for call in CALLS:
        console.say(curl_command(stack, call) + "\n")


def start_or_join(stack: Stack, console: Console, pipeline: str) -> PipelineRun:
    """Start a run, or join the one that the schedule has started since the stack is up.

    On a new state folder every schedule makes its first run at once; the chain need not run twice.
    """
    scheduled = [
        run
        for run in stack.client.runs(pipeline)
        if run.is_scheduled and (run.created_at >= stack.started_at or not run.has_ended)
    ]
    if scheduled:
        console.say(f"The schedule has started {pipeline} (run {scheduled[0].id}); following it")
        return scheduled[0]
    return stack.start_run(pipeline)


def follow(client: MageClient, root: PipelineRun, console: Console) -> list[PipelineRun]:
    """Follow a run and all that follows from it to their ends, and return them in the order of their ids.

    Raises:
        MageError: not all of them had ended in time.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with console.progress() as progress:
        while True:
            runs = _descendants(client, root)
            now = datetime.now(UTC)
            progress.show({f"{run.pipeline} #{run.id}": (_state(run), f"{run.seconds(now):.0f}") for run in runs})
            if all(run.has_ended for run in runs) and not is_one_missing(runs):
                return runs
            if time.monotonic() > deadline:
                waiting = ", ".join(f"{run.pipeline} #{run.id}" for run in runs if not run.has_ended)
                raise MageError(f"Not ended after {TIMEOUT_SECONDS} s: {waiting or 'a run that should have started'}")
            time.sleep(POLL_SECONDS)


def _descendants(client: MageClient, root: PipelineRun) -> list[PipelineRun]:
    if root.pipeline not in CHAIN:
        return [run for run in client.runs(root.pipeline) if run.id == root.id]
    known = [run for pipeline in CHAIN for run in client.runs(pipeline)]
    found = [run for run in known if run.id == root.id]
    for run in found:
        found.extend(children(known, run))
    # The refresh of the data product is nobody's child, but the chain waits for it.
    refreshes = [run for run in client.refreshes(DATA_PRODUCT) if run.created_at >= root.created_at]
    return sorted(found + refreshes, key=lambda run: run.id)


def is_one_missing(runs: Sequence[PipelineRun]) -> bool:
    """Whether a completed run has not started yet what it starts: its child appears a moment later."""
    return any(
        run.status == "completed" and run.trigger != REFRESH and pipeline not in started
        for run in runs
        for started in [{child.pipeline for child in children(runs, run)}]
        for pipeline in STARTS.get(run.pipeline, ())
    )


def _state(run: PipelineRun) -> str:
    running = [block.block for block in run.blocks if block.status in ("running", "queued")]
    doing = f", now {', '.join(running[:3])}{' ...' if len(running) > 3 else ''}" if running else ""
    return f"{run.status}, {run.blocks_done}/{len(run.blocks)} blocks{doing}"


def _all_completed(runs: Sequence[PipelineRun]) -> bool:
    return all(run.status == "completed" for run in runs)


def _table(runs: Sequence[PipelineRun]) -> Table:
    table = Table("run", "pipeline", "started by", "status", "blocks", "seconds", box=None, pad_edge=False)
    now = datetime.now(UTC)
    for run in runs:
        by = f"run {run.triggered_by}" if run.triggered_by else run.trigger
        by = f"refresh of {DATA_PRODUCT}" if run.trigger == REFRESH else by
        table.add_row(
            str(run.id), run.pipeline, by, run.status, f"{run.blocks_done}/{len(run.blocks)}", f"{run.seconds(now):.1f}"
        )
    return table


def _call(stack: Stack, call: CallableBlock, console: Console) -> bool:
    """Make a call and print its answer; say whether it was one."""
    console.heading(f"POST /api/runs {call.pipeline}/{call.block}")
    begin = time.monotonic()
    try:
        output = stack.client.run_block(call.pipeline, call.block, stack.token(call.pipeline, INFERENCE), call.example)
    except MageError as error:
        console.say(f"  failed: {error}")
        return False
    console.say(json.dumps(output, indent=2, ensure_ascii=False))
    console.say(f"  answered in {time.monotonic() - begin:.2f} s")
    return bool(output)


def curl_command(stack: Stack, call: CallableBlock) -> str:
    """Return a call as a person with curl makes it, token included."""
    body = {"run": {"pipeline_uuid": call.pipeline, "block_uuid": call.block, "variables": call.example}}
    return (
        f"curl -X POST {stack.server.url}/api/runs -H 'Content-Type: application/json' \\\n"
        f"  -H 'Authorization: Bearer {stack.token(call.pipeline, INFERENCE)}' \\\n"
        f"  -d '{json.dumps(body)}'"
    )
