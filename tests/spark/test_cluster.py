"""The same blocks on a standalone cluster, by configuration alone."""

import threading
from pathlib import Path

import psutil
import pytest

from stack.mage_client import wait_until
from tests.standalone_cluster import standalone_cluster
from workflows.common.local_services import stop_services
from workflows.common.processes import recorded_process
from workflows.spark_workflow.facts import match_salaries_with_facts
from workflows.spark_workflow.salaries import generate_salaries

ROWS = 4_000_000


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster that the settings name, with storage that all of it sees."""
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    with standalone_cluster(tmp_path) as found:
        monkeypatch.setenv("MASTER", found.master)
        monkeypatch.setenv("SPARK_DATA_URI", str(tmp_path / "data"))
        # The driver's own address, where the machine's name leads nowhere.
        monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        yield found
        stop_services()


def is_writing(folder: Path) -> bool:
    return any(folder.glob("*_salaries_*/_temporary/*/_temporary/attempt_*"))


def test_the_workflow_survives_the_death_of_a_worker(cluster, tmp_path):
    outputs: list[dict] = []
    thread = threading.Thread(target=lambda: outputs.append(generate_salaries(ROWS, 1, 1)))
    thread.start()
    wait_until(lambda: is_writing(tmp_path / "data") or not thread.is_alive(), 120)
    assert thread.is_alive()
    killed = next(worker for worker in cluster.workers if cluster.executors(worker))
    for process in (killed, *cluster.executors(killed)):
        process.kill()
    assert thread.is_alive()
    thread.join()
    assert outputs[0]["row_count"] == ROWS
    summary = match_salaries_with_facts(outputs[0], {"fun_facts": ["a", "b"]}, 1)
    assert summary["employee_count"].sum() == ROWS

    server = recorded_process(tmp_path / "state" / "services" / "spark_server.json")
    assert server is not None
    # Workers start the executors: none of this ran in the server of this machine.
    assert not [one for one in server.children() if "java" in one.name()]
    assert "Lost executor" in (tmp_path / "state" / "logs" / "spark_server.log").read_text()
    psutil.wait_procs([killed], 10)
