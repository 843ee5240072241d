"""Passengers: the contract of one record, reading them from a CSV, and one row for each.

Every boundary uses the same rules, `COLUMNS`: the CSV (`load_passengers`), the table joined with the
companies (`one_row_per_passenger`) and a single passenger sent by a caller (`parse_attributes`).
"""

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from workflows.common.errors import InvalidInputError, NotReadyError

logger = logging.getLogger(__name__)

Value = int | float | str | None

MAX_TEXT_LENGTH = 500
MAX_REPORTED_PROBLEMS = 10

MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "unknown", "?"})
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Column:
    """Rules of one column: `name` in our tables, `csv_name` in messages, bounds inclusive.

    `required` columns have a value in every row. A file may call a column as it is called here, in any case, or
    by one of `other_names`.
    """

    name: str
    csv_name: str
    kind: Literal["int", "float", "text"]
    required: bool = True
    minimum: float = 0
    maximum: float = math.inf
    choices: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()


COLUMNS: tuple[Column, ...] = (
    Column("passenger_id", "PassengerId", "int", minimum=1, maximum=2**53, other_names=("id",)),
    Column("survived", "Survived", "int", maximum=1),
    Column("pclass", "Pclass", "int", minimum=1, maximum=3),
    Column("_name", "Name", "text", required=False),
    Column("sex", "Sex", "text", choices=("male", "female")),
    Column("age", "Age", "float", required=False, maximum=120),
    Column("sibsp", "SibSp", "int", maximum=20),
    Column("parch", "Parch", "int", maximum=20),
    Column("ticket", "Ticket", "text", required=False),
    # One of the 1,309 known passengers has no fare.
    Column("fare", "Fare", "float", required=False, maximum=100_000),
    # Seaborn's file has only the deck, the cabin's letter.
    Column("cabin", "Cabin", "text", required=False, other_names=("deck",)),
    Column("embarked", "Embarked", "text", required=False, choices=("C", "Q", "S")),
)
COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
KEY = "passenger_id"
TARGET = "survived"
CLASSES = {1: "first", 2: "second", 3: "third"}
PORTS = {"S": "Southampton", "C": "Cherbourg", "Q": "Queenstown"}
CHILD_BELOW_YEARS = 13
ADULT_FROM_YEARS = 18
OLD_FROM_YEARS = 60
SMALL_FAMILY = 4
ATTRIBUTES: tuple[Column, ...] = tuple(c for c in COLUMNS if c.name not in {KEY, TARGET})
ATTRIBUTE_NAMES: tuple[str, ...] = tuple(column.name for column in ATTRIBUTES)


def plain_name(name: str) -> str:
    """Return a name in lower case without spaces, underscores and hyphens: people write all of `SibSp`, `sib_sp`."""
    return re.sub(r"[\s_-]", "", name).lower()


ATTRIBUTE_BY_PLAIN_NAME: Mapping[str, str] = {
    plain_name(name): column.name for column in ATTRIBUTES for name in (column.name, column.csv_name)
}


def parse_value(column: Column, raw: object) -> Value:
    """Read one value by the rules of its column; None where it is missing.

    Text is stripped, choices match in any case, and whole numbers may be written `3.0`.

    Raises:
        ValueError: says what is wrong with the value.
    """
    if raw is None or raw is pd.NA or raw is pd.NaT:
        return None
    if isinstance(raw, bool | np.bool_) or not isinstance(raw, str | int | float | np.number):
        raise ValueError(f"must be text or a number, not {type(raw).__name__}")
    if isinstance(raw, float | np.floating) and math.isnan(raw):
        return None
    text = str(raw).strip()
    if text.lower() in MISSING:
        return None
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"longer than {MAX_TEXT_LENGTH} characters")
    return _parse_text(column, text) if column.kind == "text" else _parse_number(column, text)


def _parse_text(column: Column, text: str) -> str:
    if not column.choices:
        return text
    for choice in column.choices:
        if choice.lower() == text.lower():
            return choice
    raise ValueError(f"{text[:40]!r} is none of {', '.join(column.choices)}")


def _parse_number(column: Column, text: str) -> int | float:
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number")
    number = float(text)
    if column.kind == "int" and not number.is_integer():
        raise ValueError(f"{text[:40]!r} is not a whole number")
    if not column.minimum <= number <= column.maximum:
        raise ValueError(f"{text[:40]} is outside {column.minimum:g} to {column.maximum:g}")
    # Adding 0 turns -0.0 into 0.0.
    return int(number) if column.kind == "int" else number + 0.0


def parse_attributes(variables: Mapping[str, object]) -> dict[str, Value]:
    """Read the ten attributes of one passenger, all of them optional; other keys are ignored.

    Attributes may be named in another case, or as in the CSV.

    Raises:
        InvalidInputError: `.fields` names every wrong attribute with its reason.
    """
    values: dict[str, Value] = {}
    problems: dict[str, str] = {}
    by_name = {ATTRIBUTE_BY_PLAIN_NAME.get(plain_name(name)): value for name, value in variables.items()}
    by_name |= {name: variables[name] for name in ATTRIBUTE_NAMES if name in variables}
    for column in ATTRIBUTES:
        try:
            values[column.name] = parse_value(column, by_name.get(column.name))
        except ValueError as error:
            problems[column.name] = str(error)
    if problems:
        raise InvalidInputError("the passenger cannot be read", problems)
    return values


def age_band(age_years: float | None) -> Literal["child", "teenage", "adult", "old"] | None:
    """Name the band of an age: child below 13, teenage below 18, adult below 60, old; None where unknown."""
    if age_years is None or pd.isna(age_years):
        return None
    if age_years < CHILD_BELOW_YEARS:
        return "child"
    if age_years < ADULT_FROM_YEARS:
        return "teenage"
    return "adult" if age_years < OLD_FROM_YEARS else "old"


def family_band(people: int | None) -> Literal["alone", "small", "large"] | None:
    """Name the band of a family on board, the passenger included: alone, small up to 4, large."""
    if people is None:
        return None
    if people <= 1:
        return "alone"
    return "small" if people <= SMALL_FAMILY else "large"


def travel_groups(df: pd.DataFrame) -> pd.Series:
    """Name the group that each passenger travels in: the ticket, or the passenger alone where it is unknown."""
    alone = pd.Series([f"alone {number}" for number in range(len(df))], index=df.index, dtype=object)
    return df["ticket"].where(df["ticket"].notna(), alone)


def one_row_per_passenger(df: pd.DataFrame) -> pd.DataFrame:
    """Reduce a table that repeats passengers (passenger × company) to one row for each, by `passenger_id`.

    Only the columns `COLUMN_NAMES` are kept: what belongs to a company says nothing about a passenger.

    Raises:
        InvalidInputError: a column is missing, there are no rows, a value breaks the rules, or rows of one
            passenger contradict each other; names passengers and columns.
    """
    missing = [name for name in COLUMN_NAMES if name not in df.columns]
    if missing:
        raise InvalidInputError("the passenger table", dict.fromkeys(missing, "column missing"))
    if df.empty:
        raise InvalidInputError("the passenger table has no rows: run pipeline sql_python_workflow")
    distinct = df.loc[:, list(COLUMN_NAMES)].drop_duplicates()
    contradicting = distinct[distinct[KEY].duplicated(keep=False)]
    if not contradicting.empty:
        variants = contradicting.groupby(KEY, sort=True, dropna=False).nunique(dropna=False)
        raise InvalidInputError(
            f"{len(variants)} passengers have rows that contradict each other",
            {
                f"{KEY} {key}": f"differs in {', '.join(variants.columns[counts > 1])}"
                for key, counts in list(variants.iterrows())[:MAX_REPORTED_PROBLEMS]
            },
        )
    records = distinct.to_dict("records")
    rows = ((f"row {number}", {str(k): v for k, v in record.items()}) for number, record in enumerate(records))
    table = validated(rows, place="the passenger table", labels={name: name for name in COLUMN_NAMES})
    return table.sort_values(KEY, ignore_index=True)


def from_core_users(outputs: object, block_uuid: str = "join_passengers_companies") -> pd.DataFrame:
    """Take one row per passenger out of what a block downstream of the data product `core_users` receives.

    Args:
        outputs: `{block_uuid: [table of the newest run, …]}`.
        block_uuid: The block that makes the joined table.

    Raises:
        NotReadyError: the data product holds no table yet.
        InvalidInputError: see `one_row_per_passenger`.
    """
    tables = outputs.get(block_uuid) if isinstance(outputs, Mapping) else None
    if not tables or not isinstance(tables[0], pd.DataFrame):
        raise NotReadyError("the data product core_users holds no table yet: run pipeline sql_python_workflow first")
    passengers = one_row_per_passenger(tables[0])
    logger.info("The data product core_users has %d passengers", len(passengers))
    return passengers


def validated(rows: Iterable[tuple[str, Mapping[str, object]]], place: str, labels: Mapping[str, str]) -> pd.DataFrame:
    """Parse every row, and report the first problems of all rows together."""
    problems: dict[str, str] = {}
    count = 0
    parsed: list[dict[str, Value]] = []
    first_seen: dict[Value, str] = {}
    for position, raw in rows:
        values: dict[str, Value] = {}
        for column in COLUMNS:
            reason = ""
            try:
                values[column.name] = parse_value(column, raw[column.name])
            except ValueError as error:
                reason = str(error)
            else:
                if column.required and values[column.name] is None:
                    reason = "missing"
                elif column.name == KEY and values[KEY] in first_seen:
                    reason = f"{values[KEY]} is already in {first_seen[values[KEY]]}"
            if reason:
                count += 1
                if count <= MAX_REPORTED_PROBLEMS:
                    passenger = f"{labels[KEY]} {str(raw[KEY])[:40]}"
                    problems[f"{labels[column.name]} in {position} ({passenger})"] = reason
        if values.get(KEY) is not None:
            first_seen.setdefault(values[KEY], position)
        parsed.append(values)
    if problems:
        more = f", the first {MAX_REPORTED_PROBLEMS} are" if count > MAX_REPORTED_PROBLEMS else ""
        raise InvalidInputError(f"passengers in {place}: {count} wrong values{more}", problems)
    return as_frame(parsed)


def as_frame(records: Iterable[Mapping[str, Value]]) -> pd.DataFrame:
    """Build a table from parsed records, with the types that `load_passengers` promises."""
    rows = list(records)
    names = [name for name in COLUMN_NAMES if rows and name in rows[0]]
    kinds = {column.name: column.kind for column in COLUMNS}
    series: dict[str, Any] = {}
    for name in names:
        values = [row[name] for row in rows]
        if kinds[name] == "text":
            series[name] = pd.Series(values, dtype=object)
        elif kinds[name] == "int" and None not in values:
            series[name] = pd.Series(values, dtype="int64")
        else:
            series[name] = pd.Series([math.nan if v is None else v for v in values], dtype="float64")
    return pd.DataFrame(series)
