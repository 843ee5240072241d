"""The processes of a stack by their role, and how to kill them."""

import random
import time
from collections.abc import Callable, Sequence

import psutil

from mage_server.heartbeat import heartbeat_path
from stack.launch import stack_record_path
from stack.mage_client import wait_until
from stack.mage_process import record_path
from workflows.common.processes import recorded_process
from workflows.common.settings import Settings

FIND_SECONDS = 25.0
POLL_SECONDS = 0.1


def family(process: psutil.Process | None) -> list[psutil.Process]:
    try:
        return process.children(recursive=True) if process is not None else []
    except psutil.NoSuchProcess:
        return []


def named(processes: Sequence[psutil.Process], text: str) -> list[psutil.Process]:
    found = []
    for process in processes:
        try:
            if text in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def server(settings: Settings) -> list[psutil.Process]:
    return [process for process in [recorded_process(record_path(settings))] if process is not None]


def scheduler(settings: Settings) -> list[psutil.Process]:
    try:
        pid = int(heartbeat_path().read_text())
    except (FileNotFoundError, ValueError):
        return []
    return [process for one in server(settings) for process in one.children() if process.pid == pid]


def manager(settings: Settings) -> list[psutil.Process]:
    """The process that holds the state of the job queue: forked from the server, as the scheduler is."""
    schedulers = scheduler(settings)
    forks = [process for one in server(settings) for process in named(one.children(), "mage_server")]
    return [process for process in forks if process not in schedulers]


def pool(settings: Settings) -> list[psutil.Process]:
    return [process for one in scheduler(settings) for process in named(one.children(), "mage_server")]


def worker(settings: Settings) -> list[psutil.Process]:
    return [process for one in pool(settings) for process in named(one.children(), "mage_server")]


def kernel(settings: Settings) -> list[psutil.Process]:
    return [process for one in server(settings) for process in named(family(one), "ipykernel")]


def service(name: str) -> Callable[[Settings], list[psutil.Process]]:
    def find(settings: Settings) -> list[psutil.Process]:
        process = recorded_process(settings.state_dir / "services" / f"{name}.json")
        return [process] if process is not None else []

    return find


def stack_command(settings: Settings) -> list[psutil.Process]:
    process = recorded_process(stack_record_path(settings))
    return [process] if process is not None else []


def everything(settings: Settings) -> list[psutil.Process]:
    roots = stack_command(settings) + server(settings)
    services = ("llm_server", "companies_api", "spark_server")
    roots += [process for name in services for process in service(name)(settings)]
    return [*roots, *(child for root in roots for child in family(root))]


ROLES: dict[str, Callable[[Settings], list[psutil.Process]]] = {
    "server": server,
    "scheduler": scheduler,
    "manager": manager,
    "pool": pool,
    "worker": worker,
    "kernel": kernel,
    "spark": service("spark_server"),
    "model server": service("llm_server"),
    "companies API": service("companies_api"),
    "stack": stack_command,
    "everything": everything,
}


def kill(find: Callable[[Settings], list[psutil.Process]], settings: Settings, generator: random.Random) -> int:
    """Kill a process of a role as soon as there is one, all where it is everything; return how many, once gone."""
    deadline = time.monotonic() + FIND_SECONDS
    while not (found := find(settings)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    chosen = found if find is everything else generator.sample(found, min(1, len(found)))
    for process in chosen:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    # Otherwise a chain that had ended before would seem to run on.
    psutil.wait_procs(chosen, FIND_SECONDS)
    return len(found)


def processes_of(state_dir: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            is_mage = "mage_server" in " ".join(process.cmdline())
            if is_mage and process.environ().get("STATE_DIR") == state_dir and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_one_mage(settings: Settings) -> None:
    """Check that every process of Mage belongs to the server that runs: none is left of one that was killed."""

    def is_one() -> bool:
        roots = server(settings)
        if len(roots) != 1:
            return False
        root = roots[0]
        return {one.pid for one in processes_of(str(settings.state_dir))} <= {root.pid, *(p.pid for p in family(root))}

    wait_until(is_one, 60)
