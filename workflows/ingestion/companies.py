"""The companies of an API: fetched, validated, rounded."""

import json
import logging
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError

from workflows.common.errors import InvalidInputError
from workflows.common.http import download
from workflows.common.local_services import LocalService

logger = logging.getLogger(__name__)

MAX_REPORTED_ERRORS = 10
COMPANIES_API = LocalService("companies_api", "workflows.ingestion.sample_api")

Count = Annotated[StrictInt | StrictFloat, Field(ge=0, allow_inf_nan=False)]


class Company(BaseModel):
    """One record of the API; fields that it does not name are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: StrictInt
    name: StrictStr
    address: StrictStr
    zip: StrictStr
    country: StrictStr
    employeeCount: Count | None = None
    industry: StrictStr
    marketCap: Count
    domain: StrictStr
    logo: StrictStr
    ceoName: StrictStr


def fetch_companies(url: str, *, timeout_seconds: float, deadline_seconds: float, retries: int) -> pd.DataFrame:
    """GET a JSON list of companies and validate every record.

    Args:
        url: Address of the list.
        timeout_seconds: For the connection, and between two pieces of the answer.
        retries: After connection errors, 429 and 5xx; waits double, a Retry-After is honoured.

    Returns:
        One row per company, columns as in `Company`; `employeeCount` is Float64 with missing values.

    Raises:
        ServiceError: no answer, or one with an error status.
        InvalidInputError: not JSON, not a list, no rows, or a record that does not fit.
    """
    body = download(
        url,
        source="The companies API",
        setting="COMPANIES_API_URL",
        timeout_seconds=timeout_seconds,
        deadline_seconds=deadline_seconds,
        retries=retries,
        headers={"Accept": "application/json"},
    )
    try:
        payload = json.loads(body)
    except ValueError as error:
        raise InvalidInputError("The companies API did not answer with JSON; check COMPANIES_API_URL") from error
    return validate_companies(payload)


def validate_companies(payload: Any) -> pd.DataFrame:
    """Check a decoded answer of the API and return it as a table; see `fetch_companies`."""
    if not isinstance(payload, list):
        raise InvalidInputError(f"The companies API must answer with a list, not {type(payload).__name__}")
    if not payload:
        raise InvalidInputError("The companies API answered with no companies")
    companies: list[Company] = []
    problems: dict[str, str] = {}
    first_record_of_id: dict[int, int] = {}
    for number, record in enumerate(payload):
        try:
            company = Company.model_validate(record)
        except ValidationError as error:
            label = f"record {number}" + (f" (id {record['id']!r})" if _has_id(record) else "")
            for detail in error.errors(include_url=False):
                # The branches of a union come after the name of the field; the reason names the type.
                field = str(detail["loc"][0]) if detail["loc"] else "record"
                problems.setdefault(f"{label}, {field}", detail["msg"])
            continue
        if company.id in first_record_of_id:
            problems[f"record {number} (id {company.id}), id"] = f"duplicate of record {first_record_of_id[company.id]}"
        first_record_of_id.setdefault(company.id, number)
        companies.append(company)
    if problems:
        shown = dict(list(problems.items())[:MAX_REPORTED_ERRORS])
        raise InvalidInputError(f"The companies API sent {len(problems)} wrong values in {len(payload)} records", shown)
    logger.info("Loaded %d companies", len(companies))
    table = pd.DataFrame([company.model_dump() for company in companies], columns=list(Company.model_fields))
    return table.astype({"employeeCount": "Float64", "marketCap": "float64"})


def round_employee_count(companies: pd.DataFrame) -> pd.DataFrame:
    """Round `employeeCount` to whole employees, half up; missing stays missing.

    Args:
        companies: Any table with a numeric column `employeeCount`.

    Returns:
        A copy whose `employeeCount` is Int64.
    """
    counts = companies["employeeCount"].astype("Float64")
    values = counts.to_numpy(dtype="float64", na_value=np.nan)
    whole = np.floor(values)
    # The difference of a number and its floor is exact, so 0.49999999999999994 does not become 1.
    rounded = whole + (values - whole >= 0.5)
    return companies.assign(employeeCount=pd.Series(rounded, index=companies.index).astype("Int64"))


def _has_id(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("id"), int | str)
