"""The contract of a passenger: reading a CSV, one row for each, floats as text for SQL."""

import csv
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.common.errors import InvalidInputError, NotReadyError, ServiceError
from workflows.passengers import files as passenger_files
from workflows.passengers.contract import COLUMN_NAMES, from_core_users, one_row_per_passenger, parse_attributes
from workflows.passengers.files import as_sql_text, fingerprint, load_passengers

TITANIC = Path(__file__).parents[3] / "data" / "titanic.csv"
HEADER = ["PassengerId", "Survived", "Pclass", "Name", "Sex", "Age"]
HEADER += ["SibSp", "Parch", "Ticket", "Fare", "Cabin", "Embarked"]
BRAUND = ["1", "0", "3", "Braund, Mr. Owen", "male", "22", "1", "0", "A/5 21171", "7.25", "", "S"]
CUMINGS = ["2", "1", "1", "Cumings, Mrs. John", "female", "38", "1", "0", "PC 17599", "71.2833", "C85", "C"]


def to_csv(*records: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(records)
    return buffer.getvalue()


def changed(record: list[str], **values: str) -> list[str]:
    return [values.get(name, value) for name, value in zip(HEADER, record, strict=True)]


def load(tmp_path: Path, *records: list[str]) -> pd.DataFrame:
    path = tmp_path / "passengers.csv"
    path.write_text(to_csv(*records))
    return load_passengers(str(path))


@contextmanager
def serve(status: int, body: bytes, fail_first: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Serve `body` on this machine; the first `fail_first` requests get HTTP 503."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_response(503 if len(requested) <= fail_first else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requested
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class TestLoad:
    def test_bundled_passengers(self) -> None:
        df = load_passengers(str(TITANIC))
        assert tuple(df.columns) == COLUMN_NAMES
        assert len(df) == 891
        assert df["passenger_id"].is_unique
        assert df["survived"].sum() == 342
        assert df["age"].isna().sum() == 177
        assert df["cabin"].isna().sum() == 687
        assert df["embarked"].isna().sum() == 2
        second = df.iloc[1]
        assert second["fare"] == 71.2833
        assert second["_name"] == "Cumings, Mrs. John Bradley (Florence Briggs Thayer)"
        whole = ["passenger_id", "survived", "pclass", "sibsp", "parch"]
        assert (df[whole].dtypes == "int64").all()
        assert (df[["age", "fare"]].dtypes == "float64").all()

    def test_missing_text_is_none(self, tmp_path: Path) -> None:
        df = load(tmp_path, HEADER, BRAUND)
        assert df.loc[0, "cabin"] is None

    def test_columns_in_another_order_and_more_of_them(self, tmp_path: Path) -> None:
        df = load(tmp_path, ["Note", *reversed(HEADER)], ["x", *reversed(BRAUND)])
        assert tuple(df.columns) == COLUMN_NAMES
        assert df.loc[0, "ticket"] == "A/5 21171"

    def test_byte_order_mark_and_blank_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "passengers.csv"
        path.write_text("\ufeff" + to_csv(HEADER, BRAUND) + "\r\n\r\n", encoding="utf-8")
        assert len(load_passengers(str(path))) == 1

    @pytest.mark.parametrize(
        ("column", "value", "reason"),
        [
            ("PassengerId", "", "missing"),
            ("PassengerId", "0", "outside"),
            ("PassengerId", "1.5", "not a whole number"),
            ("PassengerId", "2", "already in line 2"),
            ("Survived", "2", "outside 0 to 1"),
            ("Survived", "", "missing"),
            ("Pclass", "4", "outside 1 to 3"),
            ("Pclass", "first", "not a number"),
            ("SibSp", " ", "missing"),
            ("Sex", "x", "none of male, female"),
            ("Age", "-1", "outside 0 to 120"),
            ("Age", "121", "outside 0 to 120"),
            ("Age", "abc", "not a number"),
            ("Age", "inf", "not a number"),
            ("Age", "1_0", "not a number"),
            ("SibSp", "-1", "outside"),
            ("Parch", "21", "outside"),
            ("Fare", "-0.01", "outside"),
            ("Fare", "1e999", "outside"),
            ("Embarked", "X", "none of C, Q, S"),
            ("Cabin", "C" * 501, "longer than 500"),
        ],
    )
    def test_wrong_value_names_column_line_and_passenger(
        self, tmp_path: Path, column: str, value: str, reason: str
    ) -> None:
        wrong = changed(BRAUND, **{"PassengerId": "7", column: value})
        with pytest.raises(InvalidInputError) as caught:
            load(tmp_path, HEADER, CUMINGS, wrong)
        passenger = value if column == "PassengerId" else "7"
        assert list(caught.value.fields) == [f"{column} in line 3 (PassengerId {passenger})"]
        assert reason in next(iter(caught.value.fields.values()))

    def test_all_wrong_values_are_counted_and_the_first_listed(self, tmp_path: Path) -> None:
        rows = [changed(BRAUND, PassengerId=str(number), Pclass="9") for number in range(1, 31)]
        with pytest.raises(InvalidInputError, match="30 wrong values") as caught:
            load(tmp_path, HEADER, *rows)
        assert len(caught.value.fields) == 10

    @pytest.mark.parametrize("column", ["Pclass", "Sex", "SibSp", "Parch"])
    def test_missing_column(self, tmp_path: Path, column: str) -> None:
        position = HEADER.index(column)
        records = [record[:position] + record[position + 1 :] for record in (HEADER, BRAUND)]
        with pytest.raises(InvalidInputError) as caught:
            load(tmp_path, *records)
        assert caught.value.fields == {column: "column missing"}

    @pytest.mark.parametrize("column", ["Name", "Age", "Ticket", "Fare", "Cabin", "Embarked"])
    def test_columns_that_may_be_missing(self, tmp_path: Path, column: str) -> None:
        position = HEADER.index(column)
        records = [record[:position] + record[position + 1 :] for record in (HEADER, BRAUND)]
        df = load(tmp_path, *records)
        assert df.isna().sum()[COLUMN_NAMES[position]] == 1

    def test_without_the_outcome_it_is_said_once(self, tmp_path: Path) -> None:
        position = HEADER.index("Survived")
        records = [record[:position] + record[position + 1 :] for record in (HEADER, BRAUND, CUMINGS)]
        with pytest.raises(InvalidInputError, match=r"no column Survived, so nothing can be learned") as caught:
            load(tmp_path, *records)
        assert str(caught.value).count("Survived") == 1

    def test_column_twice(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError) as caught:
            load(tmp_path, [*HEADER, "Age"], [*BRAUND, "5"])
        assert caught.value.fields == {"Age": "column twice"}

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "column missing"),
            (b"<!doctype html><html></html>", "doctype"),
            (b"\x89PNG\x00\xff", "bytes that are no text"),
            (to_csv(HEADER).encode(), "no rows"),
            (to_csv(HEADER, BRAUND[:-1]).encode(), "line 2 has 11 fields and the header 12, separated by commas"),
            (to_csv(HEADER, [*BRAUND, "x"]).encode(), "line 2 has 13 fields"),
            (to_csv(HEADER).encode() + b'1,"Braund', "line 2"),
        ],
    )
    def test_not_the_expected_csv(self, tmp_path: Path, content: bytes, reason: str) -> None:
        path = tmp_path / "passengers.csv"
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match=reason):
            load_passengers(str(path))

    def test_rows_without_a_value_are_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "passengers.csv"
        path.write_text("\n\n" + to_csv(HEADER, [""] * 12, BRAUND, [" "] * 12, CUMINGS) + "\n,,,\n\n")
        assert len(load_passengers(str(path))) == 2

    @pytest.mark.parametrize("delimiter", [";", "\t", "|"])
    def test_delimiters_and_decimal_commas(self, tmp_path: Path, delimiter: str) -> None:
        path = tmp_path / "passengers.csv"
        cumings = changed(CUMINGS, Fare="71,2833")
        path.write_text("\n".join(delimiter.join(record) for record in (HEADER, BRAUND, cumings)))
        df = load_passengers(str(path))
        assert df["fare"].tolist() == [7.25, 71.2833]
        assert df["_name"].tolist() == [BRAUND[3], CUMINGS[3]]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    def test_encodings(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "passengers.csv"
        path.write_bytes(to_csv(HEADER, changed(BRAUND, Name="Løvås, Mr. Åke – “Ake”")).encode(encoding))
        assert load_passengers(str(path))["_name"].tolist() == ["Løvås, Mr. Åke – “Ake”"]

    def test_names_in_any_case(self, tmp_path: Path) -> None:
        header = ["passenger_id", "SURVIVED", "PClass", "name", "sex", "AGE", "Sib Sp", *HEADER[7:]]
        assert load(tmp_path, header, BRAUND).equals(load(tmp_path, HEADER, BRAUND))

    def test_the_names_of_seaborn(self, tmp_path: Path) -> None:
        header = "survived,pclass,sex,age,sibsp,parch,fare,embarked,class,who,adult_male,deck,embark_town,alive,alone"
        rows = ["0,3,male,22.0,1,0,7.25,S,Third,man,True,,Southampton,no,False"]
        rows += ["1,1,female,38.0,1,0,71.2833,C,First,woman,False,C,Cherbourg,yes,False"]
        df = load(tmp_path, *(row.split(",") for row in (header, *rows)))
        assert df["passenger_id"].tolist() == [1, 2]
        assert df["cabin"].tolist() == [None, "C"]
        assert df["ticket"].tolist() == df["_name"].tolist() == [None, None]
        assert df["fare"].tolist() == [7.25, 71.2833]

    def test_the_names_of_openml(self, tmp_path: Path) -> None:
        header = [
            "pclass",
            "survived",
            "name",
            "sex",
            "age",
            "sibsp",
            "parch",
            "ticket",
            "fare",
            "cabin",
            "embarked",
            "boat",
            "body",
            "home.dest",
        ]
        row = ["3", "0", "Storey, Mr. Thomas", "male", "60.5", "0", "0", "3701", "?", "?", "S", "?", "261", "?"]
        df = load(tmp_path, header, row)
        assert df["passenger_id"].tolist() == [1]
        assert df["fare"].isna().all()
        assert df["cabin"].tolist() == [None]
        assert df["age"].tolist() == [60.5]

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match=r"nowhere\.csv.*PASSENGERS_CSV"):
            load_passengers(str(tmp_path / "nowhere.csv"))

    def test_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(passenger_files, "MAX_CSV_BYTES", 50)
        with pytest.raises(InvalidInputError, match="larger than"):
            load(tmp_path, HEADER, BRAUND)
        with (
            serve(200, to_csv(HEADER, BRAUND).encode()) as (url, _),
            pytest.raises(InvalidInputError, match="larger than"),
        ):
            load_passengers(url)


def test_the_fingerprint_follows_the_source_and_its_content(tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("a")
    second.write_text("a")
    before = fingerprint(str(first))
    assert before == fingerprint(str(first))
    assert before != fingerprint(str(second))
    first.write_text("b")
    assert before != fingerprint(str(first))


class TestLoadFromUrl:
    @pytest.fixture(autouse=True)
    def no_waiting_between_attempts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("time.sleep", lambda _: None)

    def test_reads(self) -> None:
        with serve(200, to_csv(HEADER, BRAUND).encode()) as (url, requested):
            assert len(load_passengers(f"{url}/titanic.csv")) == 1
        assert requested == ["/titanic.csv"]

    def test_retries_an_unavailable_server(self) -> None:
        with serve(200, to_csv(HEADER, BRAUND).encode(), fail_first=2) as (url, requested):
            assert len(load_passengers(url)) == 1
        assert len(requested) == 3

    def test_status_and_no_secret_in_the_error(self) -> None:
        with serve(404, b"") as (url, _):
            secret = url.replace("http://", "http://user:hunter2@") + "/titanic.csv?token=hunter2"
            with pytest.raises(ServiceError, match=r"//\*\*\*@.*titanic\.csv\?token=\*\*\* answered 404") as caught:
                load_passengers(secret)
        assert "hunter2" not in str(caught.value)

    def test_unreachable_without_the_secret(self) -> None:
        with serve(200, b"") as (url, _):
            pass
        with pytest.raises(ServiceError, match="did not answer") as caught:
            load_passengers(f"{url}/titanic.csv?token=hunter2")
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("s3://bucket/titanic.csv", InvalidInputError),
            ("http://[", ServiceError),
            ("file:///etc/passwd", InvalidInputError),
        ],
    )
    def test_other_addresses_are_refused(self, url: str, error: type[Exception]) -> None:
        with pytest.raises(error, match="PASSENGERS_CSV"):
            load_passengers(url)


class TestOneRowPerPassenger:
    @pytest.fixture
    def joined(self) -> pd.DataFrame:
        companies = pd.DataFrame({"company_id": range(12), "company_name": list("abcdefghijkl")})
        return load_passengers(str(TITANIC)).merge(companies, how="cross")

    def test_gives_the_passengers_back_in_any_order(self, joined: pd.DataFrame) -> None:
        shuffled = joined.sample(frac=1, random_state=1)
        before = shuffled.copy()
        pd.testing.assert_frame_equal(one_row_per_passenger(shuffled), load_passengers(str(TITANIC)))
        pd.testing.assert_frame_equal(shuffled, before)

    def test_contradicting_rows(self, joined: pd.DataFrame) -> None:
        joined.loc[3, "age"] = np.nan
        joined.loc[3, "survived"] = 1
        with pytest.raises(InvalidInputError) as caught:
            one_row_per_passenger(joined)
        assert caught.value.fields == {"passenger_id 1": "differs in survived, age"}

    def test_validates_again(self, joined: pd.DataFrame) -> None:
        with pytest.raises(InvalidInputError, match=r"pclass in row 0 \(passenger_id 1\): 9 is outside"):
            one_row_per_passenger(joined.assign(pclass=9))

    def test_missing_column_and_no_rows(self, joined: pd.DataFrame) -> None:
        with pytest.raises(InvalidInputError) as caught:
            one_row_per_passenger(joined.drop(columns="fare"))
        assert caught.value.fields == {"fare": "column missing"}
        with pytest.raises(InvalidInputError, match="no rows"):
            one_row_per_passenger(joined.head(0))

    def test_newest_table_of_the_data_product(self, joined: pd.DataFrame) -> None:
        older = joined.assign(fare=1.0)
        df = from_core_users({"join_passengers_companies": [joined, older]})
        pd.testing.assert_frame_equal(df, load_passengers(str(TITANIC)))

    @pytest.mark.parametrize("outputs", [{}, [], None, {"join_passengers_companies": []}])
    def test_data_product_that_is_not_there(self, outputs: object) -> None:
        with pytest.raises(NotReadyError, match="sql_python_workflow"):
            from_core_users(outputs)


class TestParseAttributes:
    def test_strings_and_numbers_are_the_same(self) -> None:
        texts = {"pclass": "3", "sex": " Female ", "age": "21", "fare": "1e2", "embarked": "s"}
        numbers = {"pclass": np.int64(3), "sex": "female", "age": 21, "fare": 100.0, "embarked": "S"}
        assert parse_attributes(texts) == parse_attributes(numbers)
        assert parse_attributes(texts)["age"] == 21.0

    @pytest.mark.parametrize("raw", [None, "", "  ", "null", "NaN", "Unknown", float("nan"), pd.NA])
    def test_missing(self, raw: object) -> None:
        assert set(parse_attributes(dict.fromkeys(COLUMN_NAMES, raw)).values()) == {None}

    def test_every_wrong_attribute_is_named_and_others_ignored(self) -> None:
        wrong = {"pclass": "9", "sex": "x", "age": "abc", "fare": -1, "sibsp": True, "parch": [1]}
        with pytest.raises(InvalidInputError) as caught:
            parse_attributes({**wrong, "execution_date": object(), "ticket": "1"})
        assert set(caught.value.fields) == set(wrong)


class TestAsSqlText:
    @given(st.lists(st.floats(allow_infinity=False), min_size=1))
    def test_the_text_reads_back_as_the_same_double(self, numbers: list[float]) -> None:
        texts = as_sql_text(pd.DataFrame({"fare": numbers}))["fare"]
        back = [float("nan") if text is None else float(text) for text in texts]
        np.testing.assert_array_equal(np.array(back), np.array(numbers))

    def test_duckdb_casts_it_back(self) -> None:
        numbers = [71.2833, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, 1e-7, 123456789.12345678, None]
        uploaded = as_sql_text(pd.DataFrame({"fare": numbers}))
        assert uploaded["fare"].iloc[-1] is None
        with duckdb.connect() as connection:
            connection.register("uploaded", uploaded)
            rows = connection.sql("SELECT CAST(fare AS DOUBLE) FROM uploaded").fetchall()
        assert [row[0] for row in rows] == numbers

    def test_only_floats_change_and_the_input_stays(self) -> None:
        df = load_passengers(str(TITANIC))
        before = df.copy()
        result = as_sql_text(df)
        pd.testing.assert_frame_equal(df, before)
        changed_columns = [name for name in df.columns if not result[name].equals(df[name])]
        assert changed_columns == ["age", "fare"]
        assert result.loc[1, "fare"] == "71.2833"

    def test_infinity_is_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="fare: holds an infinite number"):
            as_sql_text(pd.DataFrame({"fare": [float("inf")]}))


def test_a_json_file_named_csv_is_refused_in_words(tmp_path):
    path = tmp_path / "passengers.csv"
    path.write_text('[{"name": "' + 200_000 * "x" + '"}]')
    with pytest.raises(InvalidInputError, match="not a CSV, its first line: field larger than field limit"):
        passenger_files.load_passengers(str(path))
