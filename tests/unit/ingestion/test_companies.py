import json
from decimal import Decimal

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.common.errors import InvalidInputError
from workflows.common.http import Answer
from workflows.common.settings import REPO_PATH, Settings
from workflows.ingestion import companies as module
from workflows.ingestion import tables
from workflows.ingestion.companies import export_companies, load_companies, round_employee_count
from workflows.ingestion.pages import read_page
from workflows.ingestion.records import NAMES, parse_company
from workflows.ingestion.tables import read_companies

RECORD = {
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


def read(*records, names=None, text=None):
    content = (json.dumps(list(records)) if text is None else text).encode()
    return read_companies(iter([read_page(Answer(content)).records]), names or {})


def values(companies, field):
    return companies.table.column(field).to_pylist()


def test_the_bundled_sample_is_valid_and_has_the_hard_cases():
    found = read(text=(REPO_PATH / "data" / "companies.json").read_text(encoding="utf-8"))
    counts = values(found, "employeeCount")
    assert (found.rejected, found.duplicates) == ([], [])
    assert len(counts) >= 10
    assert counts.count(None) == 2
    assert any(count is not None and count % 1 != 0 for count in counts)


@pytest.mark.parametrize(
    ("field", "sent", "expected"),
    [
        ("employeeCount", "1,234", 1234),
        ("employeeCount", " 12.5 ", Decimal("12.5")),
        ("employeeCount", "", None),
        ("employeeCount", None, None),
        ("employeeCount", "11-50", None),
        ("employeeCount", "1,001 – 5,000", None),
        ("employeeCount", "10,001+", None),
        ("employeeCount", 9007199254740993, 9007199254740993),
        ("marketCap", 9007199254740993, 9007199254740993),
        ("marketCap", 870500000.55, Decimal("870500000.55")),
        ("marketCap", None, None),
        ("zip", 1234, "1234"),
        ("address", None, None),
        ("ceoName", None, None),
        ("id", "acme-1", "acme-1"),
        ("id", 9007199254740993, 9007199254740993),
    ],
)
def test_values_are_read_as_a_person_would(field, sent, expected):
    found = read({**RECORD, field: sent})
    assert found.rejected == []
    assert values(found, field) == [expected]


def test_ranges_are_counted_for_the_warning():
    assert read(RECORD, {**RECORD, "id": 2, "employeeCount": "11-50"}).ranges == {"employeeCount": 1}


@pytest.mark.parametrize("field", [name for name in NAMES if name not in ("id", "name")])
def test_a_field_may_be_left_out(field):
    found = read({name: value for name, value in RECORD.items() if name != field})
    assert values(found, field) == [None]


@pytest.mark.parametrize(
    ("field", "sent", "reason"),
    [
        ("id", None, "is missing"),
        ("id", True, "is no text but bool"),
        ("id", 10**400, "is larger than"),
        ("name", "  ", "is missing"),
        ("name", 5, "is no text but int"),
        ("employeeCount", "about a dozen", "'about a dozen' is no number"),
        ("employeeCount", -1, "is negative"),
        ("employeeCount", True, "is no number but bool"),
        ("employeeCount", 10**400, "is larger than"),
        ("marketCap", 1e300, "is larger than"),
        ("ceoName", ["Isla"], "is no text but list"),
        ("ceoName", "\ud800", "half of a surrogate pair"),
        ("address", "x" * 10_001, "is longer than"),
    ],
)
def test_a_value_that_does_not_fit_sets_its_record_aside(field, sent, reason):
    found = read({**RECORD, "id": 7}, {**RECORD, field: sent})
    assert values(found, "id") == [7]
    ((text, reasons),) = found.rejected
    assert set(reasons) == {field}
    assert reasons[field].startswith(reason) or reason in reasons[field]
    assert text.startswith('{"id": ')


@pytest.mark.parametrize("record", ["company", 3, None, []])
def test_a_record_that_is_no_object_is_set_aside(record):
    assert read(RECORD, record).rejected[0][1]["record"].startswith("is no object")


def test_a_number_that_no_float_holds_is_set_aside():
    found = read(text=json.dumps([RECORD, {**RECORD, "id": 2, "marketCap": 17}]).replace(" 17,", " 1e400,"))
    assert [set(reasons) for _, reasons in found.rejected] == [{"marketCap"}]


def test_bytes_that_are_no_text_set_one_record_aside():
    content = json.dumps([RECORD, {**RECORD, "id": 2, "name": "?"}]).encode().replace(b"?", b"\xff")
    found = read_companies(iter([read_page(Answer(content)).records]), {})
    assert values(found, "id") == [1]
    assert set(found.rejected[0][1]) == {"record"}


def test_fields_may_have_other_names_and_stand_deeper():
    record = {**RECORD, "headcount": 7, "profile": {"title": "Acme"}}
    found = read(record, names={"employeeCount": "headcount", "name": "profile.title"})
    assert (values(found, "employeeCount"), values(found, "name")) == ([7], ["Acme"])


def test_a_name_for_an_unknown_field_is_refused():
    with pytest.raises(InvalidInputError, match=r"COMPANIES_API_FIELDS is wrong.*headcount: is none of id"):
        read(RECORD, names={"headcount": "employeeCount"})


def test_ids_are_texts_in_all_rows_where_one_is_a_text(monkeypatch):
    monkeypatch.setattr(tables, "BATCH_RECORDS", 2)
    found = read(*({**RECORD, "id": one} for one in (1, 2, 3, "x")))
    assert values(found, "id") == ["1", "2", "3", "x"]


def test_the_same_id_as_number_and_as_text_is_a_duplicate():
    assert read(RECORD, {**RECORD, "id": "1"}).duplicates == ["1"]


class TestLoad:
    @pytest.fixture
    def load(self, tmp_path, monkeypatch):
        """Return a function that loads records without HTTP, and one that reads the rejected ones."""
        database = str(tmp_path / "warehouse.duckdb")

        def run(*records, **settings):
            monkeypatch.setattr(
                module, "fetch_companies", lambda *_: read(*records, names=settings.get("companies_api_fields"))
            )
            return load_companies(Settings(**settings), "http://unused", database, 12)

        def rejected():
            with duckdb.connect(database) as connection:
                return connection.sql("SELECT record, reasons, pipeline_run_id FROM rejected_companies").fetchall()

        return run, rejected

    def many(self, count, wrong):
        return [{**RECORD, "id": number, "marketCap": "?" if number < wrong else 1} for number in range(count)]

    def test_the_run_goes_on_without_the_rejected_records(self, load):
        run, rejected = load
        assert len(run(*self.many(100, 5))) == 95
        records = rejected()
        assert [json.loads(record)["id"] for record, _, _ in records] == [0, 1, 2, 3, 4]
        assert {(json.loads(reasons)["marketCap"], run_id) for _, reasons, run_id in records} == {
            ("'?' is no number", 12)
        }

    def test_too_many_rejected_records_fail_and_are_kept(self, load):
        run, rejected = load
        with pytest.raises(InvalidInputError, match=r"6 of 100 companies do not fit, more than 5% .*id 0, marketCap"):
            run(*self.many(100, 6))
        assert len(rejected()) == 6

    def test_the_share_is_a_setting(self, load):
        run, _ = load
        assert len(run(*self.many(10, 5), companies_max_rejected_share=0.5)) == 5

    def test_none_left_fails_whatever_the_share(self, load):
        run, _ = load
        with pytest.raises(InvalidInputError, match="1 of 1 companies do not fit"):
            run(*self.many(1, 1), companies_max_rejected_share=1)

    def test_a_name_of_the_setting_that_no_record_has_fails(self, load):
        with pytest.raises(
            InvalidInputError, match=r"COMPANIES_API_FIELDS is wrong.*no company has a value at headcnt"
        ):
            load[0](RECORD, companies_api_fields={"employeeCount": "headcnt"})

    def test_a_field_that_holds_ranges_alone_is_missing(self, load):
        table = load[0]({**RECORD, "staff": "11-50"}, companies_api_fields={"employeeCount": "staff"})
        assert table["employeeCount"].isna().all()

    def test_a_field_that_no_record_has_is_a_warning(self, load, caplog):
        without = {name: value for name, value in RECORD.items() if name not in ("logo", "zip")}
        assert load[0](without)["logo"].isna().all()
        assert "No company has a value for zip, logo; where the API calls it otherwise" in caplog.text

    def test_a_rejected_record_is_named_by_its_id_wherever_it_is(self, load):
        record = {"meta": {"number": 7}, "name": None}
        with pytest.raises(InvalidInputError, match="record with id 7, name"):
            load[0](record, companies_api_fields={"id": "meta.number"})

    def test_no_records_fail(self, load):
        with pytest.raises(InvalidInputError, match="no companies"):
            load[0]()

    def test_a_doubled_key_fails(self, load):
        with pytest.raises(InvalidInputError, match="several companies with the same id: 1"):
            load[0](RECORD, RECORD)

    def test_types_are_those_of_arrow(self, load):
        table = load[0](RECORD)
        assert set(table.columns) == set(NAMES)
        assert str(table.dtypes["id"]) == "int64[pyarrow]"
        assert table.loc[0, "zip"] == "01234"


@pytest.mark.parametrize(
    ("count", "rounded"),
    [
        (0.5, 1),
        (1.5, 2),
        (2.5, 3),
        (2.49, 2),
        (0.49999999999999994, 0),
        (7, 7),
        (0, 0),
        (Decimal("9007199254740992.5"), 9007199254740993),
        (9007199254740993, 9007199254740993),
    ],
)
def test_half_rounds_up(count, rounded):
    result = round_employee_count(pd.DataFrame({"employeeCount": [count]}))
    assert result.loc[0, "employeeCount"] == rounded
    assert result["employeeCount"].dtype == pd.ArrowDtype(pa.int64())


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


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False), st.lists))
def test_no_value_of_any_field_is_an_error_of_ours(value):
    for name in NAMES:
        _, problems, _ = parse_company({**RECORD, "employeeCount": 12, name: value}, {})
        assert set(problems) <= {name}


class TestExport:
    def exported(self, database, *records):
        table = round_employee_count(read(*records).table.to_pandas(types_mapper=pd.ArrowDtype))
        export_companies(database, table)
        with duckdb.connect(database) as connection:
            return connection.sql("SELECT id, employeeCount, marketCap FROM raw_companies ORDER BY id").fetchall()

    def test_numbers_stay_exact(self, tmp_path):
        large = 9007199254740993
        rows = self.exported(
            str(tmp_path / "warehouse.duckdb"),
            RECORD,
            {**RECORD, "id": large, "employeeCount": large, "marketCap": large},
        )
        assert rows == [(1, 13, 1000), (large, large, large)]

    def test_ids_may_be_texts(self, tmp_path):
        database = str(tmp_path / "warehouse.duckdb")
        self.exported(database, RECORD)
        assert [row[0] for row in self.exported(database, {**RECORD, "id": "x"}, RECORD)] == ["1", "x"]
