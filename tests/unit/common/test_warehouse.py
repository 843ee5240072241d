import subprocess
import sys

import duckdb
import pandas as pd
import pytest

from workflows.common import warehouse
from workflows.common.errors import InvalidInputError, ServiceError
from workflows.common.warehouse import Table, replace_table

TABLE = Table(
    "things", "one row per thing", {"id": "BIGINT PRIMARY KEY", "price": "DOUBLE NOT NULL", "is_new": "BOOLEAN"}
)


@pytest.fixture
def database(tmp_path) -> str:
    return str(tmp_path / "new folder" / "test.duckdb")


def rows(*ids: int) -> pd.DataFrame:
    return pd.DataFrame({"id": list(ids), "price": [71.2833] * len(ids), "is_new": [True] * len(ids)})


def read(database: str) -> list[tuple]:
    with duckdb.connect(database, read_only=True) as connection:
        return connection.sql("SELECT * FROM things ORDER BY id").fetchall()


def test_types_and_values_are_kept(database):
    assert replace_table(database, TABLE, rows(1, 2)) == 2
    assert read(database) == [(1, 71.2833, True), (2, 71.2833, True)]


def test_a_rerun_changes_nothing_and_new_rows_replace_the_old(database):
    replace_table(database, TABLE, rows(1, 2))
    replace_table(database, TABLE, rows(1, 2))
    assert len(read(database)) == 2
    replace_table(database, TABLE, rows(3))
    assert [row[0] for row in read(database)] == [3]


@pytest.mark.parametrize(
    "wrong",
    [
        rows(),
        rows(5, 5),
        rows(5).drop(columns="price"),
        rows(5).assign(extra=1),
        rows(5).assign(price=[None]),
        rows(5).assign(price=["many"]),
    ],
    ids=["no rows", "duplicate key", "missing column", "extra column", "missing value", "wrong type"],
)
def test_what_does_not_fit_is_refused_and_the_old_rows_stay(database, wrong):
    replace_table(database, TABLE, rows(1, 2))
    with pytest.raises(InvalidInputError):
        replace_table(database, TABLE, wrong)
    assert [row[0] for row in read(database)] == [1, 2]


HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(database):
    """Another process that has the database open until it is told to end."""
    replace_table(database, TABLE, rows(1))
    process = subprocess.Popen([sys.executable, "-c", HOLD, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_it_waits_for_another_process_to_close_the_database(database, holder, monkeypatch):
    waits = 0

    def end_the_holder(_seconds: float) -> None:
        nonlocal waits
        waits += 1
        holder.communicate(b"\n")

    monkeypatch.setattr(warehouse.time, "sleep", end_the_holder)
    replace_table(database, TABLE, rows(2))
    assert waits == 1
    assert [row[0] for row in read(database)] == [2]


def test_a_database_that_stays_locked_is_said(database, holder, monkeypatch):
    monkeypatch.setattr(warehouse, "LOCK_TIMEOUT_SECONDS", 0)
    with pytest.raises(ServiceError, match=r"test\.duckdb is locked by .+ \(PID \d+\) for more than"):
        replace_table(database, TABLE, rows(2))
