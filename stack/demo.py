"""The demo: run all pipelines in the order of the project graph, then make the two documented calls."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.request import getproxies

from rich.table import Table

from mage_server.callable_blocks import CALLABLE_BLOCKS, CallableBlock
from stack.console import Console
from stack.launch import CALLED_FROM_CODE, INFERENCE, Stack, connected_stack
from stack.mage_client import MageError, children
from stack.mage_database import MageDatabase, PipelineRun
from stack.project_graph import read_graph
from workflows.common.files import write_text_atomically
from workflows.common.settings import REPO_PATH, Settings

GRAPH = read_graph(REPO_PATH)
REFRESH = "GLOBAL_DATA_PRODUCT_TRIGGER"
TIMEOUT_SECONDS = 900
POLL_SECONDS = 1
# Login, password and calls with their tokens, for its user alone.
ACCESS_FILE = "access.txt"
# A proxy that the environment names cannot reach this machine.
NO_PROXY = "--noproxy '*' " if getproxies() else ""


# The two calls that the README documents, with the example variables of their schemas.
CALLS = tuple(block for block in CALLABLE_BLOCKS if block.block in ("online_inference", "will_i_survive"))


def run_demo(stack: Stack, console: Console) -> bool:
    """Run all pipelines and the two calls, print the results, and return whether everything worked."""
    runs: list[PipelineRun] = []
    for pipeline in GRAPH.scheduled:
        console.heading(f"{pipeline}, and all that it starts" if GRAPH.pipelines[pipeline].starts else pipeline)
        runs += follow(stack.database, start_or_join(stack, console, pipeline), console)
        if not _all_completed(runs):
            break
    console.heading("Pipeline runs")
    show_runs(runs, stack, console)
    chain_worked = _all_completed(runs) and {run.pipeline for run in runs} == set(GRAPH.pipelines)
    facts: list[str] = next((run.variables["fun_facts"] for run in runs if "fun_facts" in run.variables), [])
    console.heading(f"Fun facts ({len(facts)})")
    for fact in facts:
        console.say(f"  - {fact}")
    answered = [_call(stack, call, console) for call in CALLS]
    return chain_worked and all(answered)


def refresh(settings: Settings, console: Console, accept_drift: bool = False) -> bool:
    """Recompute the data product in the running stack, train on it, and return whether everything worked.

    Args:
        settings: Those of the running stack.
        console: Gets the runs.
        accept_drift: Whether to train on data that differ strongly from those of the champion.

    Raises:
        StackError: no stack runs with the state folder.
    """
    stack = connected_stack(settings)
    pipeline = next(name for name, item in GRAPH.pipelines.items() if item.data_products and item.starts)
    variables = {"refresh": True, "accept_drift": accept_drift}
    runs = follow(stack.database, stack.start_run(pipeline, CALLED_FROM_CODE, variables), console)
    show_runs(runs, stack, console)
    return _all_completed(runs)


def say_where(stack: Stack, console: Console) -> None:
    """Print the address of the UI, the login, and the two calls as curl commands.

    Without a terminal the output goes to a log, which others may read: then it names a file that holds the rest.
    """
    console.heading("Mage")
    console.say(f"  UI        {stack.server.url}")
    login, calls = "", "\n\n".join(curl_command(stack, call) for call in CALLS)
    if stack.server.needs_sign_in:
        login = f"  login     {stack.settings.owner_email}\n"
        login += f"  password  {stack.secrets.owner_password} (unless it was changed in the UI)\n"
    if console.is_terminal:
        console.say(login)
        console.heading("The two calls, ready to paste")
        console.say(f"{calls}\n")
        return
    path = stack.settings.state_dir / ACCESS_FILE
    write_text_atomically(path, f"{login}\n{calls}\n")
    console.say(f"  login     with the two calls, ready to paste, in {path}")


def start_or_join(stack: Stack, console: Console, pipeline: str) -> PipelineRun:
    """Return the run that the schedule has started since the stack is up, or start one.

    On a new state folder every schedule starts its first run at once, and the chain need not run twice.
    """
    scheduled = [
        run
        for run in stack.database.runs(pipeline)
        if run.is_scheduled and (run.created_at >= stack.started_at or not run.has_ended)
    ]
    if scheduled:
        console.say(f"The schedule has started {pipeline} (run {scheduled[0].id}); following it")
        return scheduled[0]
    return stack.start_run(pipeline)


def follow(database: MageDatabase, root: PipelineRun, console: Console) -> list[PipelineRun]:
    """Wait until a run and all runs that it starts have ended, and return them in the order of their ids.

    Raises:
        MageError: not all of them ended within `TIMEOUT_SECONDS`.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with console.progress() as progress:
        while True:
            runs = _descendants(database, root)
            now = datetime.now(UTC)
            progress.show({f"{run.pipeline} #{run.id}": (_state(run), f"{run.seconds(now):.0f}") for run in runs})
            if all(run.has_ended for run in runs) and not is_one_missing(runs):
                return runs
            if time.monotonic() > deadline:
                waiting = ", ".join(f"{run.pipeline} #{run.id}" for run in runs if not run.has_ended)
                raise MageError(f"Not ended after {TIMEOUT_SECONDS} s: {waiting or 'a run that should have started'}")
            time.sleep(POLL_SECONDS)


def _descendants(database: MageDatabase, root: PipelineRun) -> list[PipelineRun]:
    chain = GRAPH.chain(root.pipeline)
    known = [run for pipeline in chain for run in database.runs(pipeline)]
    found = [run for run in known if run.id == root.id]
    for run in found:
        found.extend(children(known, run))
    # No run of the chain starts the refresh of a data product, but the chain waits for it.
    products = {product for pipeline in chain for product in GRAPH.pipelines[pipeline].data_products}
    refreshes = [
        run for product in products for run in database.refreshes(product) if run.created_at >= root.created_at
    ]
    return sorted(found + refreshes, key=lambda run: run.id)


def is_one_missing(runs: Sequence[PipelineRun]) -> bool:
    """Return whether a completed run starts a pipeline whose run is not listed yet: it appears a moment later."""
    return any(
        run.status == "completed"
        and run.trigger != REFRESH
        and not GRAPH.pipelines[run.pipeline].starts.keys() <= {child.pipeline for child in children(runs, run)}
        for run in runs
    )


def _state(run: PipelineRun) -> str:
    running = [block.block for block in run.blocks if block.status in ("running", "queued")]
    doing = f", now {', '.join(running[:3])}{' ...' if len(running) > 3 else ''}" if running else ""
    return f"{run.status}, {run.blocks_done}/{len(run.blocks)} blocks{doing}"


def _all_completed(runs: Sequence[PipelineRun]) -> bool:
    return all(run.status == "completed" for run in runs)


def show_runs(runs: Sequence[PipelineRun], stack: Stack, console: Console) -> None:
    """Print the runs, and where the logs of failed blocks are."""
    console.rich.print(_table(runs))
    for run in runs:
        for block in run.blocks:
            if block.status == "failed":
                logs = f"{stack.server.url}/pipelines/{run.pipeline}/logs?pipeline_run_id[]={run.id}"
                console.say(f"Block {block.block} of run {run.id} failed; its log says why: {logs}")


def _table(runs: Sequence[PipelineRun]) -> Table:
    table = Table("run", "pipeline", "started by", "status", "blocks", "seconds", box=None, pad_edge=False)
    now = datetime.now(UTC)
    for run in runs:
        by = f"run {run.triggered_by}" if run.triggered_by else run.trigger
        if run.trigger == REFRESH:
            refreshed = (name for name, item in GRAPH.data_products.items() if item["object_uuid"] == run.pipeline)
            by = f"refresh of {', '.join(refreshed)}"
        table.add_row(
            str(run.id), run.pipeline, by, run.status, f"{run.blocks_done}/{len(run.blocks)}", f"{run.seconds(now):.1f}"
        )
    return table


def _call(stack: Stack, call: CallableBlock, console: Console) -> bool:
    """Make a call, print its answer, and return whether there was one."""
    console.heading(f"POST /api/runs {call.pipeline}/{call.block}")
    begin = time.monotonic()
    try:
        output = stack.client.run_block(
            call.pipeline, call.block, stack.trigger(call.pipeline, INFERENCE), call.example
        )
    except MageError as error:
        console.say(f"  failed: {error}")
        return False
    console.say(json.dumps(output, indent=2, ensure_ascii=False))
    console.say(f"  answered in {time.monotonic() - begin:.2f} s")
    return bool(output)


def curl_command(stack: Stack, call: CallableBlock) -> str:
    """Return a call as a curl command, including the token."""
    body = {"run": {"pipeline_uuid": call.pipeline, "block_uuid": call.block, "variables": call.example}}
    return (
        f"curl {NO_PROXY}-X POST {stack.server.url}/api/runs -H 'Content-Type: application/json' \\\n"
        f"  -H 'Authorization: Bearer {stack.trigger(call.pipeline, INFERENCE).token}' \\\n"
        f"  -d '{json.dumps(body)}'"
    )
