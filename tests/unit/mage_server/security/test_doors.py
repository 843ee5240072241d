import itertools
from typing import get_args

import pytest

from mage_server.security.doors import (
    NOT_FOUND,
    UNAUTHORIZED,
    WRITING_METHODS,
    Asked,
    Door,
    refuse_by_headers,
    refuse_by_user,
    refuse_trigger_call,
)
from mage_server.security.hosts import AllowedHosts

HOSTS = AllowedHosts("127.0.0.1", of_machine=set)
OWN, FOREIGN = "http://127.0.0.1:6789", "http://evil.example"


def asked(door: Door, method: str = "GET", origin: str | None = None, host: str = "127.0.0.1:6789") -> Asked:
    return Asked(door, method, host, origin)


@pytest.mark.parametrize(("door", "method"), list(itertools.product(get_args(Door), ("GET", *WRITING_METHODS))))
def test_what_a_foreign_page_may_do(door: Door, method: str):
    refusal = refuse_by_headers(asked(door, method, FOREIGN), HOSTS)
    is_refused = door in ("editor", "terminal") or (method != "GET" and door != "own_token")
    assert (refusal is not None) is is_refused
    assert refuse_by_headers(asked(door, method, OWN), HOSTS) is None
    assert refuse_by_headers(asked(door, method), HOSTS) is None
    assert refuse_by_headers(asked(door, method, host="evil.example"), HOSTS) is not None


@pytest.mark.parametrize("needs_sign_in", [True, False])
def test_events_are_only_for_those_who_may_edit(needs_sign_in: bool):
    assert refuse_by_user(asked("events"), needs_sign_in, False, False) == NOT_FOUND
    assert refuse_by_user(asked("events"), needs_sign_in, True, False) == NOT_FOUND
    assert refuse_by_user(asked("events"), needs_sign_in, True, True) is None


def test_who_may_connect():
    assert refuse_by_user(asked("editor"), True, False, False) == UNAUTHORIZED
    assert refuse_by_user(asked("editor", origin=OWN), True, False, False) is None
    assert refuse_by_user(asked("editor"), True, True, False) is None
    assert refuse_by_user(asked("editor"), False, False, False) is None
    assert refuse_by_user(asked("terminal", origin=OWN), True, True, False) == UNAUTHORIZED
    assert refuse_by_user(asked("terminal", origin=OWN), True, True, True) is None
    assert refuse_by_user(asked("outputs"), True, False, False) == UNAUTHORIZED
    assert refuse_by_user(asked("outputs"), True, True, False) is None


@pytest.mark.parametrize(
    ("schedule", "body", "status"),
    [
        ("1", b"", None),
        ("1", b"{}", None),
        ("1", b'{"pipeline_run": {"variables": {"a": "\\\\u0000"}}}', None),
        ("1", b'{"pipeline_run": {"variables": {"a": "\\u0000"}}}', 400),
        ("1", b"[]", 400),
        ("1", b"{", 400),
        ("1", b"\xff", 400),
        ("1", b"[" * 100_000, 400),
        ("1", b'{"pipeline_run": null}', 400),
        ("x", b"{}", 404),
        ("9" * 30, b"{}", 404),
        (None, b"{}", 404),
    ],
)
def test_calls_of_triggers(schedule: str | None, body: bytes, status: int | None):
    refusal = refuse_trigger_call({"pipeline_schedule_id": schedule}, body)
    assert (refusal.status if refusal else None) == status
