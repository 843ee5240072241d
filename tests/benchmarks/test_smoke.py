"""The benchmarks run, as small as they can be. `make bench-smoke` also runs those that start a stack."""

import importlib
import socket
import sys
from urllib.parse import urlsplit

import pytest

from benchmarks import bench_api, bench_fanout, bench_ingest
from benchmarks.servers import instant_model
from workflows.common.settings import REPO_PATH

needs_dlt = pytest.mark.skipif(not bench_ingest.DLT_PYTHON.exists(), reason="make setup-bench-dlt was not run")


def rows_of(output: str) -> list[list[str]]:
    """Return the cells of a table in Markdown, without those of its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_the_ingestion_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_ingest", "--smoke", "--no-dlt"])
    bench_ingest.main()
    rows = rows_of(capsys.readouterr().out)
    assert rows[0][0] == bench_ingest.BASELINE
    assert len(rows) == 4
    assert all(float(row[5]) > 0 for row in rows)


@needs_dlt
def test_dlt_loads_the_same_companies(tmp_path):
    with bench_ingest.serving(tmp_path / "unused.json", 1500) as url:
        seconds, megabytes = bench_ingest.run_dlt(f"{url}/pages", 1500)
    assert seconds > 0 < megabytes


@pytest.mark.parametrize(
    ("peer", "measure", "runs"),
    [
        ("prefect", lambda: bench_fanout.measure_prefect(2, 1), 2),
        ("dagster", lambda: bench_fanout.measure_dagster(2, 1, "in_process"), 1),
        ("airflow", lambda: bench_fanout.measure_airflow(2, 1), 1),
    ],
)
def test_a_peer_fans_out(monkeypatch, peer, measure, runs):
    if not bench_fanout.peer_python(peer).exists():
        pytest.skip(f"make setup-bench-{peer} was not run")
    with instant_model() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert len(measure()) == runs


def test_run_api_is_measured(monkeypatch, capsys):
    python = REPO_PATH / ".venv-bench" / "bin" / "python"
    if not python.exists():
        pytest.skip("make setup-bench was not run")
    monkeypatch.setattr(sys, "argv", ["bench_api", str(python), "--smoke"])
    bench_api.main()
    assert bench_api.RECORD_OFF in capsys.readouterr().out


@pytest.mark.parametrize("name", ["chain", "database", "fanout", "model"])
def test_the_others_say_how_they_are_used(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", [f"bench_{name}", "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.bench_{name}").main()
    assert ended.value.code == 0
    assert "--smoke" in capsys.readouterr().out


def test_the_model_ends_although_a_client_stays_connected():
    with instant_model() as variables:
        address = urlsplit(variables["OPENAI_BASE_URL"])
        client = socket.create_connection((address.hostname, address.port))
    client.close()
