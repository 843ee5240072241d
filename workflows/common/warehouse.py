"""Tables in DuckDB: replaced whole, in one transaction, with declared types."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd

from workflows.common.errors import InvalidInputError, ServiceError

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Table:
    """Contract of a table: its name, its grain and its columns with SQL type and constraint."""

    name: str
    grain: str
    columns: Mapping[str, str]


RAW_COMPANIES = Table(
    name="raw_companies",
    grain="one row per company of the last good ingestion",
    columns={
        "id": "BIGINT PRIMARY KEY",
        "name": "VARCHAR NOT NULL",
        "address": "VARCHAR NOT NULL",
        "zip": "VARCHAR NOT NULL",
        "country": "VARCHAR NOT NULL",
        "employeeCount": "BIGINT",
        "industry": "VARCHAR NOT NULL",
        "marketCap": "DOUBLE NOT NULL",
        "domain": "VARCHAR NOT NULL",
        "logo": "VARCHAR NOT NULL",
        "ceoName": "VARCHAR NOT NULL",
    },
)


def replace_table(database: str, table: Table, rows: pd.DataFrame) -> int:
    """Replace a table by `rows` in one transaction: readers see the old rows or the new.

    Args:
        database: File, or another address that DuckDB opens.
        table: Contract of the table; columns of `rows` beside it are refused.
        rows: At least one row.

    Returns:
        Number of rows written.

    Raises:
        InvalidInputError: columns, types or keys do not fit; the table stays as it was.
        ServiceError: another process kept the database file locked.
    """
    if set(rows.columns) != set(table.columns):
        raise InvalidInputError(
            f"Table {table.name} has the columns {sorted(table.columns)}, the rows have {sorted(rows.columns)}"
        )
    if rows.empty:
        raise InvalidInputError(f"No rows for table {table.name}; the rows of the last good run are kept")
    declarations = ", ".join(f'"{name}" {declaration}' for name, declaration in table.columns.items())
    names = ", ".join(f'"{name}"' for name in table.columns)
    with connect(database) as connection:
        connection.register("new_rows", rows)
        try:
            connection.begin()
            connection.execute(f'DROP TABLE IF EXISTS "{table.name}"')
            connection.execute(f'CREATE TABLE "{table.name}" ({declarations})')
            connection.execute(f'INSERT INTO "{table.name}" ({names}) SELECT {names} FROM new_rows')
            connection.execute(f"COMMENT ON TABLE \"{table.name}\" IS '{table.grain}'")
            connection.commit()
        except (duckdb.ConstraintException, duckdb.ConversionException) as error:
            connection.rollback()
            raise InvalidInputError(f"Rows do not fit table {table.name}: {error}") from error
    logger.info("Replaced %s by %d rows", table.name, len(rows))
    return len(rows)


@contextmanager
def connect(database: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database for a short time, waiting while another process has it open.

    Raises:
        ServiceError: it stayed locked for two minutes.
    """
    is_file = "://" not in database and not database.startswith(("md:", ":"))
    if is_file:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            connection = duckdb.connect(database)
            break
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise
            if time.monotonic() >= deadline:
                raise ServiceError(
                    f"The database {Path(database).name} is locked by another process for more than "
                    f"{LOCK_TIMEOUT_SECONDS} s; close the program or the notebook kernel that has it open"
                ) from error
            time.sleep(POLL_SECONDS)
    try:
        yield connection
    finally:
        connection.close()
