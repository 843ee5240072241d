"""A batch that is parsed at once, beside the same records read one by one."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.common.errors import InvalidInputError
from workflows.common.http import Answer
from workflows.ingestion import tables
from workflows.ingestion.pages import read_page
from workflows.ingestion.records import NAMES, decode_record, parse_company
from workflows.ingestion.tables import read_companies

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        ["11-50", "1,234", "1e5", ".5", "5.", "+5", "1_0", " x ", " ", "", "NaN", "1e999", "x" * 10_001, [], {}]
    )
)
RECORDS = st.fixed_dictionaries({"id": st.integers() | VALUES, "name": st.text() | VALUES}).flatmap(
    lambda record: st.dictionaries(st.sampled_from(NAMES[2:]), VALUES, max_size=3).map(lambda more: record | more)
)


def pages_of(records, **options):
    return iter([read_page(Answer(json.dumps(records, **options).encode())).records])


def read_one_by_one(records, names):
    parsed = [parse_company(decode_record(record), names) for page in pages_of(records) for record in page]
    rows = [values for values, problems, _ in parsed if not problems]
    if any(isinstance(row["id"], str) for row in rows):
        rows = [{**row, "id": str(row["id"])} for row in rows]
    return rows, [problems for _, problems, _ in parsed if problems]


@settings(deadline=None)
@given(st.lists(RECORDS, max_size=3), st.sampled_from([None, 2]))
def test_a_batch_is_read_as_its_records_one_by_one(records, indent):
    found = read_companies(pages_of(records, indent=indent), {})
    rows, problems = read_one_by_one(records, {})
    assert found.table.to_pylist() == rows
    assert [reasons for _, reasons in found.rejected] == problems


def test_only_the_neighbours_of_a_wrong_record_are_read_one_by_one(monkeypatch):
    read = []
    monkeypatch.setattr(tables, "parse_company", lambda *given: read.append(1) or parse_company(*given))
    records = [{"id": number, "name": "?", "marketCap": -1 if number == 1234 else 0.5} for number in range(5000)]
    found = read_companies(pages_of(records), {})
    assert found.table.column("id").to_pylist() == [number for number in range(5000) if number != 1234]
    assert [json.loads(record)["id"] for record, _ in found.rejected] == [1234]
    assert len(read) <= tables.FEW_RECORDS


@pytest.mark.parametrize(("path", "is_read_alone"), [("headcount", False), ("size.total", True)])
def test_names_of_fields_hold_for_a_batch(monkeypatch, path, is_read_alone):
    read = []
    monkeypatch.setattr(tables, "parse_company", lambda *given: read.append(1) or parse_company(*given))
    records = [{"id": 1, "name": "a", "headcount": 7.5, "size": {"total": 7.5}, "employeeCount": "no number"}]
    found = read_companies(pages_of(records), {"employeeCount": path})
    assert found.table.column("employeeCount").to_pylist() == [Decimal("7.5")]
    assert bool(read) is is_read_alone


def test_two_fields_may_have_one_name():
    found = read_companies(pages_of([{"id": 1, "name": "a"}]), {"domain": "name"})
    assert found.table.column("domain").to_pylist() == ["a"]


def test_an_answer_nested_too_deeply_is_refused():
    deep = '[{"id": 1, "name": "a", "more": ' + "[" * 100_000 + "]" * 100_000 + "}]"
    with pytest.raises(InvalidInputError, match="did not answer with JSON"):
        read_page(Answer(deep.encode()))


def test_records_of_a_large_batch_keep_their_order_whatever_they_need():
    wrong = {3: {"marketCap": -1}, 7: {"employeeCount": "1,234"}, 20: {"name": " "}, 40: {"domain": 5}}
    records = [{"id": number, "name": "a"} | wrong.get(number % 50, {}) for number in range(300)]
    found = read_companies(pages_of(records), {})
    rows, problems = read_one_by_one(records, {})
    assert found.table.to_pylist() == rows
    assert [reasons for _, reasons in found.rejected] == problems


@pytest.mark.parametrize("names", [{}, {"domain": "name"}, {"domain": "size.total"}])
def test_a_large_batch_may_be_wrong_altogether(names):
    found = read_companies(pages_of([{"id": number, "name": "a", "address": 5} for number in range(120)]), names)
    assert (found.table.num_rows, found.rejected_count) == (0, 120)
