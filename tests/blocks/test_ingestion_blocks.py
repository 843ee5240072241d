import duckdb
import pandas as pd
import pytest

from workflows.common.mage import duckdb_database


def stored() -> list[tuple]:
    with duckdb.connect(duckdb_database(), read_only=True) as connection:
        return connection.sql("SELECT id, zip, employeeCount, marketCap FROM raw_companies ORDER BY id").fetchall()


def ingest(run_block) -> None:
    loaded = run_block("ingestion", "load_companies")
    rounded = run_block("ingestion", "round_employee_count", loaded)
    assert run_block("ingestion", "export_companies", rounded) == {"table": "raw_companies", "rows": 12}


def test_the_bundled_companies_reach_duckdb_and_a_rerun_changes_nothing(run_block):
    ingest(run_block)
    first = stored()
    assert first[1] == (2, "97204", 513, 418_000_000.0)
    assert first[4][2] is None
    assert first[10] == (11, "395003", 15_620, 870_500_000.5)
    ingest(run_block)
    assert stored() == first


def test_a_bad_export_keeps_the_last_good_table(run_block):
    ingest(run_block)
    before = stored()
    with pytest.raises(Exception, match="raw_companies has the columns"):
        run_block("ingestion", "export_companies", pd.DataFrame({"id": [1]}))
    assert stored() == before
