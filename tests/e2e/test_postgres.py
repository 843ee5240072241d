"""Postgres as Mage's database: the chain, `/api/runs` with records, the removal of old runs, a time without writes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from benchmarks.servers import instant_model
from mage_server.callable_blocks import PASSENGER_EXAMPLE
from stack.console import Console
from stack.demo import GRAPH, follow, start_or_join
from stack.launch import INFERENCE, running_stack
from stack.mage_client import wait_until
from workflows.common.processes import free_port
from workflows.common.settings import get_settings

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        PROGRAMS is None and shutil.which("initdb") is None, reason="There is no Postgres server on this machine"
    ),
]


@pytest.fixture
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty database on a server of the test's own."""
    folder = tmp_path_factory.mktemp("postgres")
    port, as_user = free_port(), []
    if os.geteuid() == 0:
        # Postgres refuses to run as root.
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
        for parent in list(folder.parents)[:-2]:
            parent.chmod(parent.stat().st_mode | 0o011)

    def run(program: str, *arguments: str) -> None:
        found = shutil.which(program) or str(PROGRAMS / program)
        done = subprocess.run([*as_user, found, *arguments], check=False, capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr

    data = str(folder / "data")
    run("initdb", "-D", data, "-A", "trust", "-U", "mage")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    run("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "mage", "mage")
        yield f"postgresql://mage@127.0.0.1:{port}/mage"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")


def set_read_only(url: str, value: str) -> None:
    """Let every further transaction of the database write, or not."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER DATABASE mage SET default_transaction_read_only = {value}"))
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
    engine.dispose()


def test_the_chain_runs_calls_are_recorded_and_what_follows(postgres_url, tmp_path, monkeypatch):
    from mage_server.housekeeping import delete_runs

    for name in ("MAGE_DATA_DIR", "DUCKDB_DATABASE", "REQUIRE_USER_AUTHENTICATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setenv("MAGE_DATABASE_CONNECTION_URL", postgres_url)
    console = Console()
    with instant_model() as model:
        for name, value in model.items():
            monkeypatch.setenv(name, value)
        with running_stack(get_settings(), console) as stack:
            runs = []
            for pipeline in GRAPH.scheduled:
                runs += follow(stack.database, start_or_join(stack, console, pipeline), console)
            assert {run.pipeline for run in runs} == set(GRAPH.pipelines)
            assert {run.status for run in runs} == {"completed"}
            pipeline = "ml_training_and_inference"
            trigger = stack.trigger(pipeline, INFERENCE)
            assert stack.client.run_block(pipeline, "online_inference", trigger, PASSENGER_EXAMPLE)

            def calls() -> list:
                return [run for run in stack.database.runs(pipeline) if run.trigger == INFERENCE]

            assert wait_until(calls, 20)[0].status == "completed"
            before = datetime.now(UTC) + timedelta(days=1)
            delete_runs(create_engine(postgres_url), before, before)
            assert calls() == []
            # The newest of each trigger stays.
            assert len(stack.database.runs(pipeline)) == 1

            set_read_only(postgres_url, "on")
            assert stack.client.run_block(pipeline, "online_inference", trigger, PASSENGER_EXAMPLE)
            set_read_only(postgres_url, "off")
            # A call that cannot be recorded is answered, and the scheduler works again by itself.
            runs = follow(stack.database, stack.start_run("ingestion"), console)
            assert {run.status for run in runs} == {"completed"}
