"""Events start pipelines: only who may edit pipelines reaches the routes, with and without authentication."""

import pytest

from benchmarks.servers import RunningServer
from tests.security.conftest import FOREIGN, Client

ROUTES = [
    ("POST", "/api/event_matchers"),
    ("GET", "/api/event_matchers"),
    ("GET", "/api/event_matchers/1"),
    ("PUT", "/api/event_matchers/1"),
    ("DELETE", "/api/event_matchers/1"),
    ("POST", "/api/events"),
    ("PUT", "/api/events"),
    ("POST", "/api/event_matchers/"),
    ("POST", "/api/events/"),
    ("POST", "/api//events"),
    ("POST", "/api/%65vents"),
    ("GET", "/api/pipeline_schedules/1/event_matchers"),
    ("POST", "/api/pipeline_schedules/1/event_matchers"),
]
MATCHER = {"event_matchers": [{"event_type": "aws", "name": "x", "pattern": {}, "pipeline_schedules": [1, 2]}]}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_routes_do_not_exist_for_a_stranger(stranger: Client, method: str, path: str):
    assert stranger.send(method, path, json=MATCHER).status_code == 404


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_routes_do_not_exist_without_authentication(open_server: RunningServer, method: str, path: str):
    assert Client(open_server).send(method, path, json=MATCHER).status_code == 404


def test_a_viewer_gets_none_either(viewer: Client):
    assert viewer.post("/api/events", json={"a": 1}).status_code == 404


def test_an_event_of_a_foreign_page_starts_nothing(locked: RunningServer, owner: Client):
    headers = {"Origin": FOREIGN, "Content-Type": "text/plain"}
    for token in (None, owner.token):
        client = Client(locked, token)
        for path in ("/api/event_matchers", "/api/events"):
            assert client.post(path, headers=headers, data='{"event_matchers": []}').status_code in (403, 404)
    assert locked.rows("SELECT count(*) FROM event_matcher") == [(0,)]


def test_the_owner_still_reaches_them(owner: Client):
    assert owner.get("/api/event_matchers").json() == {"event_matchers": []}
