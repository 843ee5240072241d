"""Passengers from a CSV, and on their way into the SQL block."""

import csv
import io
import math
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from workflows.common.errors import InvalidInputError
from workflows.common.http import download
from workflows.sql_python.passengers import COLUMNS, validated

MAX_CSV_BYTES = 50_000_000
DOWNLOAD_SECONDS = 60.0


def load_passengers(source: str) -> pd.DataFrame:
    """Read and validate passengers from a CSV with the columns of the Titanic data set.

    Args:
        source: Path, or an http(s) URL (three retries with backoff, 60 s and 50 MB at most).

    Returns:
        One row a passenger with the columns `COLUMN_NAMES`: whole numbers int64, `age` in years and `fare`
        in pounds float64 (NaN where missing), text with None where missing.

    Raises:
        InvalidInputError: no such file, not a CSV, no rows, a column missing, or a value that is missing,
            of the wrong type, out of range or a duplicate key; names column, line and passenger.
        ServiceError: the URL cannot be reached or answers with an error.
    """
    scheme = source.partition("://")[0].lower() if "://" in source else ""
    if scheme in {"http", "https"}:
        place, content = _without_secrets(source), _download(source)
    elif scheme:
        raise InvalidInputError(
            f"passengers: {scheme}:// is not supported; set PASSENGERS_CSV to a path or an http(s) URL"
        )
    else:
        place, content = source, _read(Path(source).expanduser())
    header, records = _csv_records(content, place)
    counts = {column.csv_name: header.count(column.csv_name) for column in COLUMNS}
    wrong = {name: f"column {'twice' if count else 'missing'}" for name, count in counts.items() if count != 1}
    if wrong:
        raise InvalidInputError(
            f"passengers in {place}: not the expected CSV, the first line is {','.join(header)[:80]!r}", wrong
        )
    if not records:
        raise InvalidInputError(f"passengers in {place}: no rows below the header")
    index = {column.name: header.index(column.csv_name) for column in COLUMNS}
    rows = ((f"line {line}", {name: record[position] for name, position in index.items()}) for line, record in records)
    return validated(rows, place=place, labels={column.name: column.csv_name for column in COLUMNS})


def as_sql_text(df: pd.DataFrame) -> pd.DataFrame:
    """Copy `df` with every float column as decimal text that casts back to the same DOUBLE; missing is None.

    Mage uploads float columns as DECIMAL(18,3); `CAST(fare AS DOUBLE)` of this text loses nothing.
    `repr` gives the shortest text that reads back as the same number.

    Raises:
        InvalidInputError: a number is infinite.
    """
    floats = df.select_dtypes("float").columns
    infinite = [str(name) for name in floats if np.isinf(df[name]).any()]
    if infinite:
        raise InvalidInputError("cannot write the table", dict.fromkeys(infinite, "holds an infinite number"))
    texts = {
        name: pd.Series(
            [None if math.isnan(number) else repr(float(number)) for number in df[name]],
            index=df.index,
            dtype=object,
        )
        for name in floats
    }
    return df.assign(**texts)


def _csv_records(content: bytes, place: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and, with its line number, each record; blank lines are left out."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"passengers in {place}: not a CSV, byte {error.start} is not UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[tuple[int, list[str]]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        for record in reader:
            if not record:
                continue
            if len(record) != len(header):
                raise InvalidInputError(
                    f"passengers in {place}: not a CSV, line {reader.line_num} has {len(record)} fields "
                    f"and the header {len(header)}"
                )
            records.append((reader.line_num, record))
    except csv.Error as error:
        raise InvalidInputError(f"passengers in {place}: not a CSV, line {reader.line_num}: {error}") from None
    return header, records


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise InvalidInputError(f"passengers: {path} is larger than {MAX_CSV_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"passengers: cannot read {path} ({error.strerror}); set PASSENGERS_CSV to a path or an http(s) URL"
        ) from None


def _without_secrets(url: str) -> str:
    """Drop user, password and query, which may hold a token."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidInputError("passengers: PASSENGERS_CSV is not a valid URL") from None
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _download(url: str, seconds: float = DOWNLOAD_SECONDS) -> bytes:
    return download(
        url,
        source=f"passengers: {_without_secrets(url)}",
        setting="PASSENGERS_CSV",
        timeout_seconds=15,
        deadline_seconds=seconds,
        retries=3,
        max_bytes=MAX_CSV_BYTES,
    )
