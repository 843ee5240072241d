"""The companies of an API: fetched page by page, checked record by record, rounded, exported to DuckDB.

A record that does not fit is set aside with its reasons; see `rejected_companies`.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from workflows.common.errors import InvalidInputError
from workflows.common.http import requests_to
from workflows.common.local_services import LocalService, ensure_service, service_key
from workflows.common.settings import Settings
from workflows.common.warehouse import Table, append_rows, replace_table
from workflows.ingestion.pagination import Pagination, fetch_pages
from workflows.ingestion.records import value_at
from workflows.ingestion.tables import Companies, read_companies

logger = logging.getLogger(__name__)

COMPANIES_API = LocalService("companies_api", "workflows.ingestion.sample_api")
MAX_REPORTED_RECORDS = 10
REJECTED_KEPT_DAYS = 30
RAW_COMPANIES = Table(
    name="raw_companies",
    grain="one row per company of the last good ingestion",
    columns={
        # VARCHAR where the ids are texts.
        "id": "BIGINT PRIMARY KEY",
        "name": "VARCHAR NOT NULL",
        "address": "VARCHAR",
        "zip": "VARCHAR",
        "country": "VARCHAR",
        "employeeCount": "BIGINT",
        "industry": "VARCHAR",
        "marketCap": "DECIMAL(38, 9)",
        "domain": "VARCHAR",
        "logo": "VARCHAR",
        "ceoName": "VARCHAR",
    },
)
REJECTED_COMPANIES = Table(
    name="rejected_companies",
    grain="one row per record of the companies API that was set aside in a run",
    columns={
        "record": "VARCHAR NOT NULL",
        "reasons": "JSON NOT NULL",
        "pipeline_run_id": "BIGINT",
        "rejected_at": "TIMESTAMPTZ NOT NULL",
    },
)


def with_source(settings: Settings) -> Settings:
    """Return settings that name an API: where they name none, the local one, which is started if it does not run."""
    if settings.companies_api_url is not None:
        return settings
    url = f"{ensure_service(COMPANIES_API)}/companies"
    headers = {"Authorization": SecretStr(f"Bearer {service_key(COMPANIES_API)}")}
    return settings.model_copy(update={"companies_api_url": url, "companies_api_headers": headers})


def load_companies(settings: Settings, url: str, database: str, pipeline_run_id: int | None) -> pd.DataFrame:
    """Fetch all companies, and set aside in the table `rejected_companies` what does not fit.

    Args:
        settings: Those that begin with `COMPANIES_`.
        url: Address of the first page.
        database: DuckDB file, or another address that DuckDB opens.
        pipeline_run_id: Run that is noted with the rejected records.

    Returns:
        One row per company, columns `records.NAMES`, with Arrow types, which take a fifth of the memory of Python's
        objects: `id` int64, or string where the API has texts; `employeeCount` and `marketCap` decimal; others string.

    Raises:
        InvalidInputError: too many records do not fit, none does, several have one id, or a field that
            `COMPANIES_API_FIELDS` names has no value in any record; see also `fetch_pages`.
        ServiceError: no answer in time, or an error status.
    """
    companies = fetch_companies(settings, url)
    for name, count in companies.ranges.items():
        logger.warning("%s: %d ranges, such as 11-50 or 10,001+, are no numbers and count as missing", name, count)
    logger.info("Fetched %d companies; %d do not fit", companies.record_count, companies.rejected_count)
    if companies.rejected:
        _set_aside(database, companies.rejected, pipeline_run_id)
    _check_batch(companies, settings)
    return companies.table.to_pandas(types_mapper=pd.ArrowDtype)


def fetch_companies(settings: Settings, url: str) -> Companies:
    """Fetch all pages and read every record; see `load_companies`."""
    headers = {name: value.get_secret_value() for name, value in (settings.companies_api_headers or {}).items()}
    with requests_to(
        url,
        source="The companies API",
        setting="COMPANIES_API_URL",
        timeout_seconds=settings.companies_api_timeout_seconds,
        deadline_seconds=settings.companies_api_deadline_seconds,
        retries=settings.companies_api_retries,
        headers={"Accept": "application/json", **headers},
        headers_setting="COMPANIES_API_HEADERS",
    ) as get:
        pagination = Pagination.from_setting(settings.companies_api_pagination)
        pages = fetch_pages(get, url, settings.companies_api_records, pagination)
        return read_companies(pages, settings.companies_api_fields or {})


def round_employee_count(companies: pd.DataFrame) -> pd.DataFrame:
    """Round `employeeCount` to whole employees, half up; missing stays missing.

    Args:
        companies: Any table with a numeric column `employeeCount`.

    Returns:
        A copy whose `employeeCount` is of Arrow's type int64.
    """
    counts = pa.array(companies["employeeCount"], from_pandas=True)
    if pa.types.is_integer(counts.type):
        return companies.assign(employeeCount=companies["employeeCount"].astype(pd.ArrowDtype(pa.int64())))
    whole = pc.floor(counts)
    # The difference of a number and its floor is exact, so 0.49999999999999994 does not become 1.
    is_up = pc.greater_equal(pc.subtract(counts, whole), pa.scalar(Decimal("0.5")).cast(counts.type))
    rounded = pc.add(pc.cast(whole, pa.int64()), pc.cast(is_up, pa.int64()))
    return companies.assign(employeeCount=pd.Series(rounded, index=companies.index, dtype=pd.ArrowDtype(pa.int64())))


def export_companies(database: str, companies: pd.DataFrame) -> dict[str, Any]:
    """Replace the table `raw_companies`, all or nothing; return its name and number of rows.

    Raises:
        InvalidInputError: the rows do not fit; the table stays as it was.
        ServiceError: another process kept the database locked.
    """
    table = RAW_COMPANIES
    if "id" in companies and not pd.api.types.is_integer_dtype(companies["id"]):
        table = replace(table, columns={**table.columns, "id": "VARCHAR PRIMARY KEY"})
    return {"table": table.name, "rows": replace_table(database, table, companies)}


def _check_batch(companies: Companies, settings: Settings) -> None:
    """Refuse the whole where too much is wrong, so that the table of the last good run stays.

    Raises:
        InvalidInputError: says what, and where the rejected records are.
    """
    if not companies.record_count:
        raise InvalidInputError("The companies API answered with no companies; those of the last good run are kept")
    if companies.duplicates:
        ids = ", ".join(companies.duplicates[:MAX_REPORTED_RECORDS])
        raise InvalidInputError(f"The companies API sent several companies with the same id: {ids}")
    names = settings.companies_api_fields or {}
    share = companies.rejected_count / companies.record_count
    if share > settings.companies_max_rejected_share or not companies.table.num_rows:
        problems = {
            f"{_name_of(record, names.get('id', 'id'))}, {name}": reason
            for record, reasons in companies.rejected[:MAX_REPORTED_RECORDS]
            for name, reason in reasons.items()
        }
        raise InvalidInputError(
            f"{companies.rejected_count} of {companies.record_count} companies do not fit, more than "
            f"{settings.companies_max_rejected_share:.0%} (COMPANIES_MAX_REJECTED_SHARE), or all; they are in the "
            "table rejected_companies, and those of the last good run are kept",
            dict(list(problems.items())[:MAX_REPORTED_RECORDS]),
        )
    table = companies.table
    # Fields that hold ranges alone have been warned of.
    found = [name for name in table.column_names if table.column(name).null_count < table.num_rows]
    empty = [name for name in table.column_names if name not in {*found, *companies.ranges}]
    if wrong := {name: f"no company has a value at {names[name]}" for name in empty if name in names}:
        raise InvalidInputError("COMPANIES_API_FIELDS is wrong; the companies of the last good run are kept", wrong)
    if empty:
        logger.warning(
            "No company has a value for %s; where the API calls it otherwise, say so in COMPANIES_API_FIELDS",
            ", ".join(empty),
        )


def _set_aside(database: str, rejected: Sequence[tuple[str, dict[str, str]]], pipeline_run_id: int | None) -> None:
    now = datetime.now(UTC)
    rows = pd.DataFrame(
        {
            "record": [record for record, _ in rejected],
            "reasons": [json.dumps(reasons) for _, reasons in rejected],
            "pipeline_run_id": pd.array([pipeline_run_id] * len(rejected), dtype="Int64"),
            "rejected_at": [now] * len(rejected),
        }
    )
    append_rows(database, REJECTED_COMPANIES, rows, "rejected_at", now - timedelta(days=REJECTED_KEPT_DAYS))


def _name_of(record: str, path: str) -> str:
    """Name a record by its id, where it has one."""
    try:
        number = value_at(json.loads(record), path)
    except (ValueError, AttributeError, TypeError):
        number = None
    return f"record {record[:60]}" if number is None else f"record with id {number!r:.60}"
