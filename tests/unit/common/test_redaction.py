import json
import logging
import subprocess
import sys
import timeit
import traceback

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import requests

from workflows.common.errors import InvalidInputError, ServiceError
from workflows.common.redaction import redact, redacted, secrets_of_address
from workflows.common.settings import REPO_PATH, Settings

MARK = "Zw3é-mark/ed+42"


@pytest.fixture(scope="module", autouse=True)
def marked() -> None:
    Settings(
        openai_api_key=MARK,
        companies_api_headers={"Authorization": "Bearer header-key-99"},
        companies_api_url="https://reader:pass%20word-77@api.example/v1?api_key=query-key-55&page=2",
        mage_database_connection_url="postgresql://postgres:short@db.example/mage",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("401 POST /api/runs/abc (::1) 1ms", "401 POST /api/runs/*** (::1) 1ms"),
        ("uri='/api/runs/abc', x", "uri='/api/runs/***', x"),
        ("/api/runs/abc?x=1", "/api/runs/***?x=1"),
        ("/api/pipeline_schedules/3/pipeline_runs/abc", "/api/pipeline_schedules/3/pipeline_runs/***"),
        ("/x?token=abc&y=1", "/x?token=***&y=1"),
        ("http://me:pw@host/x", "http://***@host/x"),
        ("postgresql+psycopg2://me:p@ss@host:5/db", "postgresql+psycopg2://***@host:5/db"),
        ("http://me:p/a?s#s@host/v1", "http://***@host/v1"),
        ("http://me:a,b@host,http://me:c@other", "http://***@host,http://***@other"),
        ("https://key@host/x", "https://***@host/x"),
        ("sc://host:15002/;token=abc;use_ssl=true", "sc://host:15002/;token=***;use_ssl=true"),
        ("GET https://h/x?a=1&X-Amz-Signature=0f&b=2", "GET https://h/x?a=1&X-Amz-Signature=***&b=2"),
        (
            "/x?Client_Secret=a&apiKey=b&sig=c&subscription-key=d",
            "/x?Client_Secret=***&apiKey=***&sig=***&subscription-key=***",
        ),
        ("see #access_token=abc", "see #access_token=***"),
        ('{"url": "http://me:pw@host/?key=abc"}', '{"url": "http://***@host/?key=***"}'),
        (f"it says {MARK}!", "it says ***!"),
        (json.dumps({"key": MARK}), '{"key": "***"}'),
        ("Zw3%C3%A9-mark%2Fed%2B42", "***"),
        ("Authorization: Bearer header-key-99", "Authorization: ***"),
        ("key header-key-99 is wrong", "key *** is wrong"),
        ("password 'pass word-77' or pass%20word-77", "password '***' or ***"),
        ("Basic cmVhZGVyOnBhc3Mgd29yZC03Nw==", "Basic ***"),
        ("no such key: query-key-55", "no such key: ***"),
    ],
)
def test_removed(text: str, expected: str):
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/api/pipelines",
        "/api/runs/schema/a/b",
        "/api/runs/health/ready",
        "POST /api/runs/{token}",
        "/api/pipeline_runs/42?page=3",
        "http://host:8080/x@y?page=2&sort_key=name&page_token=3&keyword=a",
        "https://medium.com/@someone",
        "abfss://container@account.dfs.core.windows.net/path",
        "sqlite:////tmp/mage-ai.db?timeout=60",
        "http://[::1]:8000/a@b",
        "password authentication failed for user postgres, in short",
        "mail me@host.example // see a@b",
        "zip_code=97204; monkey=1",
    ],
)
def test_left_alone(text: str):
    assert redact(text) == text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://host/x", set()),
        ("https://user:secret-77@host", {"secret-77"}),
        ("https://user2:secret-77@host", {"user2", "secret-77"}),
        ("https://lonely-key@host", {"lonely-key"}),
        ("abfss://container@account", set()),
        ("https://host/?a=b&api_key=c", {"c"}),
        ("http://[", set()),
    ],
)
def test_what_is_secret_in_an_address(address: str, expected: set[str]):
    assert {secret for secret in secrets_of_address(address) if secret and "=" not in secret} - BASIC == expected


BASIC = {"dXNlcjpzZWNyZXQtNzc", "dXNlcjI6c2VjcmV0LTc3", "bG9uZWx5LWtleQ", "Y29udGFpbmVy"}


def test_what_only_mage_reads_is_marked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JWT_SECRET", "jwt-secret-of-mage")
    Settings()
    assert redact("signed with jwt-secret-of-mage") == "signed with ***"


def test_values_keep_their_types():
    value = {"a": [f"x {MARK}", 1, None, ("http://u:p@h", 2.5)], f"k {MARK}": True}
    assert redacted(value) == {"a": ["x ***", 1, None, ("http://***@h", 2.5)], "k ***": True}
    assert redacted(np.float64(1)) == 1.0


@pytest.mark.parametrize("dtype", [object, "string", pd.ArrowDtype(pa.string()), pd.ArrowDtype(pa.large_string())])
def test_tables(dtype: object):
    texts = pd.Series(["a", None, f"b {MARK}"], dtype=dtype, index=[3, 4, 4])
    table = pd.DataFrame({"number": [1, 2, 3], "text": texts.array, "same": "x"}, index=texts.index)
    safe = redacted(table)
    assert safe["text"].tolist()[::2] == ["a", "b ***"]
    assert safe["text"].isna().tolist() == [False, True, False]
    assert (safe.dtypes == table.dtypes).all()
    pd.testing.assert_frame_equal(safe.drop(columns="text"), table.drop(columns="text"))
    assert table["text"].iloc[2] == f"b {MARK}"


def test_records_with_their_arguments_and_the_causes_of_errors(caplog: pytest.LogCaptureFixture):
    try:
        try:
            raise requests.ConnectionError(f"http://h/?q={MARK}")
        except requests.ConnectionError as cause:
            raise ExceptionGroup("all failed", [ValueError(MARK)]) from cause
    except ExceptionGroup as error:
        error.add_note(f"noted: {MARK}")
        logging.getLogger("test").exception("failed: %s", {"key": MARK})
        printed = traceback.format_exc() + "".join(traceback.format_exception_only(ValueError(MARK)))
    assert MARK not in caplog.text + printed
    assert caplog.text.count("***") == 4
    assert printed.count("***") == 4


def test_a_record_whose_arguments_do_not_fit_its_message(capsys: pytest.CaptureFixture[str]):
    handler = logging.StreamHandler(sys.stderr)
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.info("%s and %s", MARK)  # noqa: PLE1206
    printed = capsys.readouterr().err
    assert "Logging error" in printed
    assert MARK not in printed


def test_own_errors_hold_no_secret():
    assert str(ServiceError(f"{MARK} is refused")) == "*** is refused"
    error = InvalidInputError("wrong", {"field": f"is {MARK}"})
    assert str(error) == "wrong (field: is ***)"
    assert error.fields == {"field": "is ***"}


def test_what_ends_a_thread_or_a_process():
    code = (
        "import threading\nfrom workflows.common.settings import get_settings\nget_settings()\n"
        "def fail(): raise OSError('http://h/ ' + 'long-' + 'secret-1')\n"
        "thread = threading.Thread(target=fail)\nthread.start()\nthread.join()\nfail()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO_PATH,
        env={"OPENAI_API_KEY": "long-secret-1", "PYTHONPATH": str(REPO_PATH)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.count("OSError: http://h/ ***") == 2


def test_a_record_takes_microseconds():
    line = json.dumps({"message": "Fetched 12 companies; see https://host:8080/x?page=2", "uuid": "ab" * 16}) * 2
    assert min(timeit.repeat(lambda: redact(line), number=1000, repeat=5)) / 1000 < 100e-6
    hostile = "//a:b" * 20_000 + "?key" * 20_000
    assert timeit.timeit(lambda: redact(f"{hostile}@="), number=1) < 2


def test_what_the_kernel_of_the_editor_shows():
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(colors='NoColor')\n"
        "from workflows.common.settings import get_settings\nget_settings()\n"
        "shell.run_cell(\"raise OSError('http://h/ ' + 'long-' + 'secret-1')\")"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO_PATH,
        env={"OPENAI_API_KEY": "long-secret-1", "PYTHONPATH": str(REPO_PATH), "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "OSError: http://h/ ***" in done.stdout
    assert "long-secret-1" not in done.stdout + done.stderr
