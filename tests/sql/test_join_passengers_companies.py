"""The SQL block's query on given rows: grain, key, columns, values."""

import duckdb
import pandas as pd
import pytest

from workflows.common.settings import REPO_PATH
from workflows.common.warehouse import replace_table
from workflows.ingestion.companies import RAW_COMPANIES
from workflows.passengers.files import as_sql_text, load_passengers

QUERY = (REPO_PATH / "transformers" / "join_passengers_companies.sql").read_text(encoding="utf-8")

PASSENGERS = pd.DataFrame(
    {
        "passenger_id": [1, 2],
        "survived": [0, 1],
        "pclass": [3, 1],
        "_name": ["Braund, Mr. Owen Harris", "Cumings, Mrs. John"],
        "sex": ["male", "female"],
        "age": [22.0, None],
        "sibsp": [1, 1],
        "parch": [0, 0],
        "ticket": ["A/5 21171", "PC 17599"],
        "fare": [7.25, 71.2833],
        "cabin": [None, "C85"],
        "embarked": ["S", None],
    }
)
COMPANIES = pd.DataFrame(
    {
        "id": [10, 20, 30],
        "name": ["A", "B", "C"],
        "address": ["a", "b", "c"],
        "zip": ["1", "2", "3"],
        "country": ["Norway", "Chile", "Japan"],
        "employeeCount": pd.array([5, None, 7], dtype="Int64"),
        "industry": ["Energy", "Food", "Robotics"],
        "marketCap": [1.5, 2.0, 870_500_000.5],
        "domain": ["a", "b", "c"],
        "logo": ["a", "b", "c"],
        "ceoName": ["x", "y", "z"],
    }
)


@pytest.fixture(scope="module")
def joined(tmp_path_factory) -> pd.DataFrame:
    database = str(tmp_path_factory.mktemp("sql") / "warehouse.duckdb")
    replace_table(database, RAW_COMPANIES, COMPANIES)
    with duckdb.connect(database) as connection:
        connection.register("passengers_input", as_sql_text(PASSENGERS))
        return connection.sql(QUERY.replace("{{ df_1 }}", "passengers_input")).df()


def test_the_grain_is_the_passenger_and_every_joined_row_is_counted(joined):
    assert joined["passenger_id"].tolist() == [1, 2]
    assert joined["company_count"].tolist() == [3, 3]
    assert joined["company_employee_count"].tolist() == [12, 12]


def test_five_thousand_companies_take_little_memory():
    """They are 4.5 million joined rows, which would take gigabytes."""
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '200MB'; SET temp_directory = ''")
        passengers = as_sql_text(load_passengers(str(REPO_PATH / "data" / "titanic.csv")))
        connection.register("passengers_input", passengers)
        connection.execute("CREATE TABLE raw_companies AS SELECT range AS id, range AS employeeCount FROM range(5000)")
        rows = connection.sql(QUERY.replace("{{ df_1 }}", "passengers_input")).df()
    assert len(rows) == 891
    assert rows["company_count"].sum() == 4_455_000


def test_the_columns_are_the_explicit_ones(joined):
    assert list(joined.columns) == [*PASSENGERS.columns, "company_count", "company_employee_count"]
    assert "*" not in QUERY.split("FROM")[0].split("SELECT")[1].replace("COUNT(*)", "")


def test_no_precision_is_lost(joined):
    row = joined[joined["passenger_id"] == 2].iloc[0]
    assert row["fare"] == 71.2833
    assert pd.isna(row["age"])
    assert pd.isna(row["embarked"])
