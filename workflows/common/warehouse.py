"""Tables in DuckDB: replaced whole or appended to, in one transaction, with declared types."""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from workflows.common.errors import InvalidInputError, ServiceError

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.2
# DuckDB names the process that has the file open: "Conflicting lock is held in /usr/bin/python3 (PID 12)".
_HOLDER = re.compile(r"held in (.+? \(PID \d+\))")


@dataclass(frozen=True)
class Table:
    """Contract of a table: its name, its grain and its columns with SQL type and constraint."""

    name: str
    grain: str
    columns: Mapping[str, str]


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
    with connect(database) as connection:
        connection.register("new_rows", _arrow_table(table, rows))
        try:
            connection.begin()
            connection.execute(f'DROP TABLE IF EXISTS "{table.name}"')
            _create(connection, table)
            _insert(connection, table)
            connection.commit()
        except (duckdb.ConstraintException, duckdb.ConversionException) as error:
            connection.rollback()
            raise InvalidInputError(f"Rows do not fit table {table.name}: {error}") from error
    logger.info("Replaced %s by %d rows", table.name, len(rows))
    return len(rows)


def append_rows(database: str, table: Table, rows: pd.DataFrame, time_column: str, kept_since: datetime) -> None:
    """Add rows to a table, which is made where it is missing, and remove older ones.

    Args:
        database: File, or another address that DuckDB opens.
        table: Contract of the table.
        rows: Rows to add.
        time_column: Column that holds the time of a row.
        kept_since: Rows before this time are removed.

    Raises:
        ServiceError: another process kept the database file locked.
    """
    with connect(database) as connection:
        connection.register("new_rows", _arrow_table(table, rows))
        connection.begin()
        _create(connection, table)
        connection.execute(f'DELETE FROM "{table.name}" WHERE "{time_column}" < ?', [kept_since])
        _insert(connection, table)
        connection.commit()


def _arrow_table(table: Table, rows: pd.DataFrame) -> pa.Table:
    try:
        return pa.Table.from_pandas(rows, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InvalidInputError(f"Rows do not fit table {table.name}: {error}") from error


def _create(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    declarations = ", ".join(f'"{name}" {declaration}' for name, declaration in table.columns.items())
    connection.execute(f'CREATE TABLE IF NOT EXISTS "{table.name}" ({declarations})')
    connection.execute(f"COMMENT ON TABLE \"{table.name}\" IS '{table.grain}'")


def _insert(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    names = ", ".join(f'"{name}"' for name in table.columns)
    connection.execute(f'INSERT INTO "{table.name}" ({names}) SELECT {names} FROM new_rows')


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
                holder = _HOLDER.search(str(error))
                raise ServiceError(
                    f"The database {Path(database).name} is locked by {holder[1] if holder else 'another process'} for "
                    f"more than {LOCK_TIMEOUT_SECONDS} s; close the program or the notebook kernel that has it open"
                ) from None
            time.sleep(POLL_SECONDS)
    try:
        yield connection
    finally:
        connection.close()
