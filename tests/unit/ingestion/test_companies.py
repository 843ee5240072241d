import json
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.common.errors import InvalidInputError
from workflows.common.settings import REPO_PATH
from workflows.ingestion.companies import round_employee_count, validate_companies


@pytest.fixture
def record() -> dict:
    return {
        "id": 1,
        "name": "Northwind",
        "address": "14 Harbour Road",
        "zip": "01234",
        "country": "Norway",
        "employeeCount": 12.5,
        "industry": "Energy",
        "marketCap": 1000,
        "domain": "northwind.example",
        "logo": "https://northwind.example/logo.png",
        "ceoName": "Isla Murray",
    }


def test_the_bundled_sample_is_valid_and_has_the_hard_cases():
    payload = json.loads(Path(REPO_PATH / "data" / "companies.json").read_text(encoding="utf-8"))
    companies = validate_companies(payload)
    counts = companies["employeeCount"]
    assert len(companies) >= 10
    assert counts.isna().sum() == 2
    assert any("employeeCount" not in company for company in payload)
    assert (counts.dropna() % 1 != 0).any()


def test_types_are_kept(record):
    companies = validate_companies([record])
    assert companies.loc[0, "zip"] == "01234"
    assert companies.dtypes.astype(str).to_dict() == {
        "id": "int64",
        "name": "object",
        "address": "object",
        "zip": "object",
        "country": "object",
        "employeeCount": "Float64",
        "industry": "object",
        "marketCap": "float64",
        "domain": "object",
        "logo": "object",
        "ceoName": "object",
    }


@pytest.mark.parametrize("payload", [{"data": []}, "text", 3, None])
def test_anything_but_a_list_is_refused(payload):
    with pytest.raises(InvalidInputError, match="must answer with a list"):
        validate_companies(payload)


def test_an_empty_list_is_refused():
    with pytest.raises(InvalidInputError, match="no companies"):
        validate_companies([])


def test_a_missing_field_is_named_with_its_record(record):
    wrong = {name: value for name, value in record.items() if name != "industry"} | {"id": 7}
    with pytest.raises(InvalidInputError, match=r"record 1 \(id 7\), industry: Field required"):
        validate_companies([record, wrong])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "1"),
        ("id", None),
        ("id", True),
        ("name", 5),
        ("zip", 1234),
        ("employeeCount", "12"),
        ("employeeCount", -1),
        ("employeeCount", True),
        ("employeeCount", math.nan),
        ("marketCap", None),
        ("marketCap", math.inf),
        ("ceoName", ["Isla"]),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_record(record, field, value):
    with pytest.raises(InvalidInputError) as caught:
        validate_companies([record | {"id": 9}, record | {field: value}])
    (place,) = caught.value.fields
    assert place.startswith("record 1")
    assert place.endswith(f", {field}")


def test_a_record_that_is_no_object_is_named(record):
    with pytest.raises(InvalidInputError, match="record 1, record"):
        validate_companies([record, "company"])


def test_a_duplicate_id_is_named(record):
    with pytest.raises(InvalidInputError, match=r"record 2 \(id 1\), id: duplicate of record 0"):
        validate_companies([record, record | {"id": 2}, record])


@pytest.mark.parametrize(
    ("count", "rounded"), [(0.5, 1), (1.5, 2), (2.5, 3), (2.49, 2), (0.49999999999999994, 0), (7, 7), (0, 0)]
)
def test_half_rounds_up(count, rounded):
    result = round_employee_count(pd.DataFrame({"employeeCount": [count]}))
    assert result.loc[0, "employeeCount"] == rounded
    assert result["employeeCount"].dtype == "Int64"


def test_missing_stays_missing_and_the_input_is_untouched():
    companies = pd.DataFrame({"employeeCount": pd.array([1.5, None], dtype="Float64"), "id": [1, 2]})
    before = companies.copy()
    assert round_employee_count(companies)["employeeCount"].isna().tolist() == [False, True]
    pd.testing.assert_frame_equal(companies, before)


@given(st.integers(min_value=0, max_value=2**40), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_rounding_is_never_more_than_half_away(whole, fraction):
    count = float(whole) + fraction
    rounded = int(round_employee_count(pd.DataFrame({"employeeCount": [count]})).loc[0, "employeeCount"])
    assert -0.5 <= count - rounded < 0.5
