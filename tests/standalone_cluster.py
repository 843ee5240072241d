"""A standalone Spark cluster on this machine: a master and workers, each a process of its own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from stack.mage_client import wait_until
from workflows.common.processes import free_port, stop_process
from workflows.common.settings import get_settings
from workflows.spark_workflow.java import find_java
from workflows.spark_workflow.server import spark_home

START_SECONDS = 120


def _command_line(process: psutil.Process) -> str:
    """Return it, empty where the process has just ended: a worker starts others than executors, for a moment."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class Cluster:
    """A master and workers with one core each.

    Args:
        folder: Gets their logs and what executors write.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._processes: list[psutil.Process] = []
        port = free_port()
        self.master = f"spark://127.0.0.1:{port}"
        self._start("master", "org.apache.spark.deploy.master.Master", "--port", str(port))
        self.workers = [
            self._start(f"worker-{number}", "org.apache.spark.deploy.worker.Worker", "-c", "1", "-m", "1g", self.master)
            for number in range(2)
        ]
        wait_until(lambda: self._log("master").count("Registering worker") == len(self.workers), START_SECONDS)

    def executors(self, worker: psutil.Process) -> list[psutil.Process]:
        """Return the executors that a worker has started."""
        return [one for one in worker.children() if "ExecutorBackend" in _command_line(one)]

    def stop(self) -> None:
        for process in self._processes:
            stop_process(process)

    def _start(self, name: str, kind: str, *arguments: str) -> psutil.Process:
        settings = get_settings()
        home = spark_home(settings)
        environment = {"JAVA_HOME": str(find_java(settings).home), "SPARK_HOME": str(home)}
        environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_WORKER_DIR": str(self._folder / name)}
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [home / "bin" / "spark-class", kind, "--host", "127.0.0.1", "--webui-port", "0", *arguments],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(psutil.Process(process.pid))
        return self._processes[-1]

    def _log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")


@contextmanager
def standalone_cluster(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster, and stop it."""
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.stop()
