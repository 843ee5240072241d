import json
from typing import Any

import pytest

from mage_server.security.errors import clean_error, clean_text, is_from_browser, status_of, without_paths

TRACE = 'Traceback (most recent call last):\n  File "/work/x/y.py", line 3, in f\n    g()\nValueError: no /tmp/a/b.csv'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no file /srv/me/project/say.py here", "no file say.py here"),
        ("'/etc/passwd'", "'passwd'"),
        ("see https://docs.mage.ai/a/b", "see https://docs.mage.ai/a/b"),
        ("a/b of and/or", "a/b of and/or"),
        ("a call over /api/runs", "a call over /api/runs"),
    ],
)
def test_without_paths(text: str, expected: str):
    assert without_paths(text) == expected


def test_a_trace_becomes_its_last_line():
    assert clean_text(TRACE) == "ValueError: no b.csv"
    assert len(clean_text("x" * 10_000)) == 500


@pytest.mark.parametrize("name", ["message", "exception", "errors"])
def test_no_form_of_an_error_holds_a_trace(name: str):
    error: dict[str, Any] = {"code": 500, name: TRACE.splitlines() if name == "errors" else TRACE}
    assert "Traceback" not in json.dumps(clean_error(error))
    assert "/work" not in json.dumps(clean_error(error))


def test_what_the_ui_reads_is_kept():
    error = {"code": 404, "type": "record_not_found", "message": "No run", "errors": ["None"]}
    assert clean_error(error) == {**error, "errors": [], "exception": "No run"}
    assert clean_error({"code": 400, "message": "m", "errors": ["first", None]})["errors"] == ["first"]


def test_status_of():
    class UnauthenticatedRequestException(Exception):
        """As Mage's."""

    error = ValueError()
    assert status_of(error) == 500
    error.code = 404
    assert status_of(error) == 404
    error.code = "E7"
    assert status_of(error) == 500
    assert status_of(UnauthenticatedRequestException()) == 401
    assert status_of(json.JSONDecodeError("x", "", 0)) == 400


def test_is_from_browser():
    assert is_from_browser({"Referer": "x"})
    assert not is_from_browser({"X-API-KEY": "x"})
