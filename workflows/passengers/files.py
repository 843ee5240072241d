"""Passengers from a CSV, and on their way into the SQL block."""

import codecs
import csv
import hashlib
import io
import logging
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd

from workflows.common.errors import InvalidInputError
from workflows.common.http import download
from workflows.common.redaction import redact
from workflows.passengers.contract import COLUMNS, KEY, TARGET, plain_name, validated

logger = logging.getLogger(__name__)

MAX_CSV_BYTES = 50_000_000
DOWNLOAD_SECONDS = 60.0
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def load_passengers(source: str) -> pd.DataFrame:
    """Read and validate passengers from a CSV with the columns of the Titanic data set, as they are found.

    Columns are called as Kaggle, seaborn or OpenML call them, in any case; others are ignored. Fields are separated by
    commas, semicolons, tabs or bars; the text is UTF-8, UTF-16 or cp1252. Without an id, the number of the row is it.

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
    place, content = _fetch(source)
    text = _decode(content, place)
    delimiter = _delimiter(text, place)
    header, records = _csv_records(text, delimiter, place)
    positions = _positions(header, place)
    if not records:
        raise InvalidInputError(f"passengers in {place}: no rows below the header")
    rows = (
        (f"line {line}", _raw_values(record, positions, number, has_decimal_commas=delimiter != ","))
        for number, (line, record) in enumerate(records, start=1)
    )
    passengers = validated(rows, place=place, labels={column.name: column.csv_name for column in COLUMNS})
    logger.info("Read %d passengers from %s", len(passengers), place)
    return passengers


def fingerprint(source: str) -> str:
    """Return a hash of a source and its content: another one means other passengers.

    Raises:
        InvalidInputError, ServiceError: it cannot be read, see `load_passengers`.
    """
    place, content = _fetch(source)
    return hashlib.sha256(place.encode() + b"\n" + content).hexdigest()


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


def _fetch(source: str) -> tuple[str, bytes]:
    """Return the address of a source without secrets, and its content."""
    scheme = source.partition("://")[0].lower() if "://" in source else ""
    if scheme in {"http", "https"}:
        return redact(source), _download(source)
    if scheme:
        raise InvalidInputError(
            f"passengers: {scheme}:// is not supported; set PASSENGERS_CSV to a path or an http(s) URL"
        )
    return source, _read(Path(source).expanduser())


def _decode(content: bytes, place: str) -> str:
    """Decode a text file: UTF-16 by its mark, UTF-8, else the encoding of Excel's CSV on Windows."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    if b"\0" in content:
        raise InvalidInputError(f"passengers in {place}: not a CSV, it holds bytes that are no text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _delimiter(text: str, place: str) -> str:
    """Return the delimiter by which the first line names most of the columns."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    try:
        return max(DELIMITERS, key=lambda delimiter: len(_names_in(next(csv.reader([first], delimiter=delimiter), []))))
    except csv.Error as error:
        raise InvalidInputError(f"passengers in {place}: not a CSV, its first line: {error}") from None


def _names_in(header: list[str]) -> dict[str, list[int]]:
    """Return the positions in a header that have the name of a column, those of its other names only where it lacks."""
    plain = [plain_name(name) for name in header]
    found: dict[str, list[int]] = {}
    for column in COLUMNS:
        for names in ({plain_name(column.csv_name), plain_name(column.name)}, column.other_names):
            if positions := [position for position, name in enumerate(plain) if name in names]:
                found[column.name] = positions
                break
    return found


def _positions(header: list[str], place: str) -> dict[str, int]:
    """Return the position of each column of a file.

    Raises:
        InvalidInputError: a required column is missing, or one is there twice.
    """
    found = _names_in(header)
    absent = [column for column in COLUMNS if column.name not in found]
    wrong = {column.csv_name: "column missing" for column in absent if column.required and column.name != KEY}
    wrong |= {column.csv_name: "column twice" for column in COLUMNS if len(found.get(column.name, [])) > 1}
    if list(wrong) == ["Survived"] and TARGET not in found:
        raise InvalidInputError(
            f"passengers in {place}: there is no column Survived, so nothing can be learned from this file; "
            "set PASSENGERS_CSV to one that says who survived"
        )
    if wrong:
        shown = ", ".join(header)[:80]
        raise InvalidInputError(f"passengers in {place}: not the expected CSV, the first line is {shown!r}", wrong)
    if absent:
        names = ", ".join(column.csv_name for column in absent)
        logger.warning("The passengers in %s have no column %s", place, names)
    return {name: positions[0] for name, positions in found.items()}


def _raw_values(
    record: list[str], positions: dict[str, int], number: int, *, has_decimal_commas: bool
) -> dict[str, str | None]:
    """Return the texts of a row by column, None for a column that the file lacks."""
    values: dict[str, str | None] = {column.name: None for column in COLUMNS}
    values |= {name: record[position] for name, position in positions.items()}
    if KEY not in positions:
        values[KEY] = str(number)
    if has_decimal_commas:
        for column in COLUMNS:
            text = values[column.name]
            if column.kind != "text" and text is not None and _DECIMAL_COMMA.fullmatch(text.strip()):
                values[column.name] = text.replace(",", ".")
    return values


def _csv_records(text: str, delimiter: str, place: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and, with its line number, each record; rows without any value are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records: list[tuple[int, list[str]]] = []
    header: list[str] = []
    try:
        for record in reader:
            if not any(field.strip() for field in record):
                continue
            if not header:
                header = [name.strip() for name in record]
            elif len(record) != len(header):
                raise InvalidInputError(
                    f"passengers in {place}: line {reader.line_num} has {len(record)} fields and the header "
                    f"{len(header)}, separated by {DELIMITERS[delimiter]}; a field that holds one needs quotes"
                )
            else:
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


def _download(url: str, seconds: float = DOWNLOAD_SECONDS) -> bytes:
    return download(
        url,
        source=f"passengers: {redact(url)}",
        setting="PASSENGERS_CSV",
        timeout_seconds=15,
        deadline_seconds=seconds,
        retries=3,
        max_bytes=MAX_CSV_BYTES,
    )
