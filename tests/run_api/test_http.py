"""Every answer of the contract, over real HTTP on a real server."""

import concurrent.futures
import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests

from benchmarks.servers import RunningServer
from mage_server.run_api.handlers import API_VERSION
from mage_server.run_api.schema import openapi_document


def error_of(response: requests.Response, status: int) -> dict[str, Any]:
    """Check the form of an error, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/json")
    body = response.json()
    schema = openapi_document(API_VERSION)["components"]["schemas"]["Error"]
    jsonschema.validate(body, schema)
    assert body["error"]["code"] == status
    assert "Traceback" not in response.text
    assert "site-packages" not in response.text
    return body["error"]


def fields_of(error: dict[str, Any]) -> set[str]:
    return {detail["field"] for detail in error["details"]}


def body_of(pipeline: str, block: str, variables: dict | None = None, **fields: Any) -> dict[str, Any]:
    return {"run": {"pipeline_uuid": pipeline, "block_uuid": block, "variables": variables or {}, **fields}}


class TestUnknownFields:
    def test_400_names_the_nearest(self, server: RunningServer):
        body = {"run": {"pipeline_uuid": "behaviour", "block_uuid": "say", "variables": {}, "varables": {}, "zzz": 1}}
        error = error_of(server.post(body, server.token("behaviour")), 400)
        assert error["details"] == [
            {"field": "run.varables", "reason": "is unknown; did you mean variables?"},
            {"field": "run.zzz", "reason": "is unknown"},
        ]


class TestAnswer:
    def test_200_with_the_token_in_the_header(self, server: RunningServer):
        response = server.call("behaviour", "say", {"word": "hello"})
        assert response.status_code == 200
        assert response.json() == {"run": {"output": [{"version": 1, "said": "hello"}]}}

    def test_200_with_the_token_in_the_path(self, server: RunningServer):
        url = f"{server.url}/api/runs/{server.token('behaviour')}"
        response = requests.post(url, json=body_of("behaviour", "say", {"word": "hello"}), timeout=30)
        assert response.json() == {"run": {"output": [{"version": 1, "said": "hello"}]}}

    def test_the_answer_comes_over_one_connection_again_and_again(self, server: RunningServer):
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {server.token('behaviour')}"
            for number in range(5):
                body = body_of("behaviour", "say", {"word": number})
                answer = session.post(f"{server.url}/api/runs", json=body, timeout=30)
                assert answer.json()["run"]["output"][0]["said"] == number
                assert answer.headers.get("Connection") != "close"

    def test_an_edit_of_the_block_shows_in_the_next_call(self, server: RunningServer):
        path = server.project / "custom" / "say.py"
        original = path.read_text()
        try:
            for version in (2, 3, 4):
                # The same length, within the time stamp's resolution.
                path.write_text(original.replace('"version": 1', f'"version": {version}'))
                assert server.output("behaviour", "say")[0]["version"] == version
        finally:
            path.write_text(original)
        assert server.output("behaviour", "say")[0]["version"] == 1

    def test_a_change_of_the_pipeline_shows_in_the_next_call(self, server: RunningServer):
        path = server.project / "pipelines" / "behaviour" / "metadata.yaml"
        original = path.read_text()
        try:
            path.write_text(original.replace("uuid: say\n", "uuid: was_say\n").replace("name: say\n", "name: x\n"))
            error_of(server.call("behaviour", "say"), 404)
        finally:
            path.write_text(original)
        assert server.call("behaviour", "say").status_code == 200

    def test_a_name_with_a_value_of_another_call_is_not_seen(self, server: RunningServer):
        assert server.output("outputs", "return_arguments", {"one": 1})[0]["one"] == "1"
        assert "one" not in server.output("outputs", "return_arguments", {"two": 2})[0]

    def test_options_are_answered_for_browsers(self, server: RunningServer):
        response = requests.options(f"{server.url}/api/runs", timeout=30)
        assert (response.status_code, response.content) == (204, b"")
        assert "POST" in response.headers["Access-Control-Allow-Methods"]


class TestToken:
    @pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic abc", "Bearer \xe9"])
    def test_401(self, server: RunningServer, header: str | None):
        headers = {} if header is None else {"Authorization": header.encode("latin-1")}
        body = body_of("behaviour", "say")
        response = requests.post(f"{server.url}/api/runs", json=body, headers=headers, timeout=30)
        error_of(response, 401)
        assert response.headers["WWW-Authenticate"] == "Bearer"

    def test_401_with_an_unknown_token_in_the_path(self, server: RunningServer):
        response = requests.post(f"{server.url}/api/runs/unknown", json=body_of("behaviour", "say"), timeout=30)
        error_of(response, 401)

    def test_403_for_another_pipeline(self, server: RunningServer):
        error = error_of(server.post(body_of("behaviour", "say"), server.token("outputs")), 403)
        assert "another pipeline" in error["message"]

    def test_403_for_an_inactive_trigger(self, server: RunningServer):
        error = error_of(server.post(body_of("outputs", "return_text"), server.token("outputs", "call_inactive")), 403)
        assert "inactive" in error["message"]

    def test_a_trigger_that_is_switched_off_and_on(self, server: RunningServer):
        def switch(status: str) -> None:
            trigger = server.rows("SELECT id FROM pipeline_schedule WHERE pipeline_uuid = 'behaviour'")[0][0]
            url = f"{server.url}/api/pipeline_schedules/{trigger}"
            requests.put(url, json={"pipeline_schedule": {"status": status}}, timeout=30).raise_for_status()

        def wait_for(status: int) -> None:
            deadline = time.monotonic() + 5
            while server.call("behaviour", "say").status_code != status:
                assert time.monotonic() < deadline
                time.sleep(0.1)

        try:
            switch("inactive")
            wait_for(403)
        finally:
            switch("active")
        wait_for(200)


class TestRefusal:
    def test_404_pipeline(self, server: RunningServer):
        error = error_of(server.post(body_of("nowhere", "say"), server.token("behaviour")), 404)
        assert "nowhere" in error["message"]

    @pytest.mark.parametrize("name", ["../behaviour", "..", ".", "behaviour/../behaviour", "/etc", "behaviour\x00"])
    def test_404_for_what_would_be_a_path(self, server: RunningServer, name: str):
        error_of(server.post(body_of(name, "say"), server.token("behaviour")), 404)

    def test_404_block(self, server: RunningServer):
        error_of(server.call("behaviour", "nothing"), 404)

    def test_404_address(self, server: RunningServer):
        error_of(requests.get(f"{server.url}/api/runs/a/b/c", timeout=30), 404)

    @pytest.mark.parametrize(
        ("body", "fields"),
        [
            (b"", set()),
            (b"{", set()),
            (b"\xff\xfe", set()),
            (b"[]", set()),
            (b"null", set()),
            (b'"run"', set()),
            (b"{}", {"run"}),
            (b'{"run": []}', {"run"}),
            (b'{"run": {}}', {"run.pipeline_uuid", "run.block_uuid"}),
            (b'{"run": {"pipeline_uuid": 1, "block_uuid": ""}}', {"run.pipeline_uuid", "run.block_uuid"}),
            (
                b'{"run": {"pipeline_uuid": "p", "block_uuid": "b", "variables": [], "record": 1}}',
                {"run.variables", "run.record"},
            ),
            (b'{"run": {"pipeline_uuid": "p", "block_uuid": "b", "project": "x"}}', {"run.project"}),
            (b'{"run": {"pipeline_uuid": "p", "block_uuid": "b", "variables": {"x": NaN}}}', set()),
            (b'{"run": {"pipeline_uuid": "p", "block_uuid": "b", "variables": {"x": 1e999}}}', set()),
            (b'{"run": {"pipeline_uuid": "p", "block_uuid": "b", "variables": {"x": "\\ud800"}}}', set()),
            (b'{"run": ' * 100 + b"1" + b"}" * 100, set()),
            (b"[" * 100_000, set()),
            (b"9" * 5000, set()),
        ],
    )
    def test_400(self, server: RunningServer, body: bytes, fields: set[str]):
        assert fields_of(error_of(server.post(body, server.token("behaviour")), 400)) == fields

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "BREW"])
    @pytest.mark.parametrize("path", ["", "/token"])
    def test_405(self, server: RunningServer, method: str, path: str):
        response = requests.request(method, f"{server.url}/api/runs{path}", timeout=30)
        assert response.status_code == 405
        assert response.headers["Allow"] == "POST"
        if method != "HEAD":
            error_of(response, 405)

    def test_405_of_the_other_addresses(self, server: RunningServer):
        error_of(requests.post(f"{server.url}/api/runs/health/ready", timeout=30), 405)

    @pytest.mark.parametrize("size", [4097, 100_000, 20_000_000])
    def test_413(self, tight: RunningServer, size: int):
        error_of(tight.post(b" " * size, tight.token("behaviour")), 413)

    def test_413_without_a_length(self, tight: RunningServer):
        chunks = (b" " * 1000 for _ in range(50))
        headers = {"Authorization": f"Bearer {tight.token('behaviour')}"}
        error_of(requests.post(f"{tight.url}/api/runs", data=chunks, headers=headers, timeout=30), 413)

    def test_a_body_without_a_length_is_fine(self, tight: RunningServer):
        chunks = iter([json.dumps(body_of("behaviour", "say")).encode()])
        headers = {"Authorization": f"Bearer {tight.token('behaviour')}"}
        assert requests.post(f"{tight.url}/api/runs", data=chunks, headers=headers, timeout=30).status_code == 200

    def test_422_names_every_field_with_its_reason(self, server: RunningServer):
        error = error_of(server.call("behaviour", "fail", {"how": "invalid"}), 422)
        assert error["details"] == [
            {"field": "age", "reason": "is not a number"},
            {"field": "sex", "reason": "is unknown"},
        ]

    @pytest.mark.parametrize(
        ("pipeline", "block", "name"),
        [("outputs", "return_inputs", "data"), ("outputs", "return_text", "remote_blocks")],
    )
    def test_422_for_names_that_no_block_may_be_sent(self, server: RunningServer, pipeline: str, block: str, name: str):
        assert fields_of(error_of(server.call(pipeline, block, {name: 1}), 422)) == {f"variables.{name}"}

    def test_409_says_which_pipeline_to_run(self, server: RunningServer):
        error = error_of(server.call("behaviour", "fail", {"how": "not_ready"}), 409)
        assert "run pipeline ml_training_and_inference" in error["message"]

    def test_409_where_a_block_above_was_never_executed(self, server: RunningServer):
        error = error_of(server.call("behaviour", "below_never_executed"), 409)
        assert "never_executed" in error["message"]

    def test_502(self, server: RunningServer):
        error = error_of(server.call("behaviour", "fail", {"how": "service"}), 502)
        assert error["message"] == "the language model did not answer"

    @pytest.mark.parametrize("how", ["crash", "exit", "unserialisable", "circular"])
    def test_500_tells_nothing_of_the_inside(self, server: RunningServer, how: str):
        response = server.call("behaviour", "fail", {"how": how})
        error = error_of(response, 500)
        assert "hunter2" not in response.text
        assert "RuntimeError" not in response.text
        assert error["request_id"] in server.log

    def test_the_trace_of_a_500_is_in_the_log(self, server: RunningServer):
        request_id = error_of(server.call("behaviour", "fail"), 500)["request_id"]
        text = server.log
        after = text[text.index(request_id) :]
        assert "RuntimeError: a secret of the inside" in after[:3000]

    def test_504_and_the_place_is_taken_until_the_block_ends(self, tight: RunningServer):
        begin = time.monotonic()
        error_of(tight.call("behaviour", "wait", {"seconds": 3}), 504)
        assert 1.4 < time.monotonic() - begin < 2.9
        time.sleep(2)
        assert tight.call("behaviour", "say").status_code == 200

    def test_a_block_knows_how_long_its_caller_waits(self, server: RunningServer, tight: RunningServer):
        assert 0 < tight.output("behaviour", "wait", {"seconds": "none"})[0]["may_wait"] <= 1.5
        assert 290 < server.output("behaviour", "wait", {"seconds": "none"})[0]["may_wait"] <= 300

    def test_429_with_retry_after(self, tight: RunningServer):
        """Two workers, two places in the queue: of eight calls at once four are too many."""
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            calls = [clients.submit(tight.call, "behaviour", "wait", {"seconds": 0.5}) for _ in range(8)]
            answers = [call.result() for call in calls]
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * 4 + [429] * 4
        for answer in answers:
            if answer.status_code == 429:
                error_of(answer, 429)
                assert 1 <= int(answer.headers["Retry-After"]) <= 60


class TestSchemaAndHealth:
    def test_openapi(self, server: RunningServer):
        document = requests.get(f"{server.url}/api/runs/openapi.json", timeout=30).json()
        assert document == openapi_document(API_VERSION)

    def test_the_schema_of_a_block_of_which_nothing_is_said(self, server: RunningServer):
        schema = requests.get(f"{server.url}/api/runs/schema/behaviour/say", timeout=30).json()
        assert schema["type"] == "object"
        jsonschema.Draft202012Validator.check_schema(schema)

    @pytest.mark.parametrize(
        "path", ["behaviour/nothing", "nowhere/say", "%2e%2e/behaviour", "%2e%2e%2fpipelines/say", "behaviour/%00"]
    )
    def test_404_for_the_schema_of_nothing(self, server: RunningServer, path: str):
        error_of(requests.get(f"{server.url}/api/runs/schema/{path}", timeout=30), 404)

    def test_live(self, server: RunningServer):
        response = requests.get(f"{server.url}/api/runs/health/live", timeout=30)
        assert (response.status_code, response.json()["status"]) == (200, "ok")

    def test_ready_looks_at_database_scheduler_and_records(self, server: RunningServer):
        response = requests.get(f"{server.url}/api/runs/health/ready", timeout=30)
        assert response.json() == {"status": "ok", "checks": dict.fromkeys(("database", "scheduler", "records"), "ok")}

    def test_not_ready_without_its_database(self, tight: RunningServer):
        database = tight.folder / "mage-ai.db"
        hidden = Path(f"{database}.hidden")
        database.rename(hidden)
        try:
            time.sleep(1.2)
            response = requests.get(f"{tight.url}/api/runs/health/ready", timeout=30)
            assert (response.status_code, response.json()["status"]) == (503, "not_ready")
            assert "sqlite" not in response.text
        finally:
            database.unlink(missing_ok=True)
            hidden.rename(database)


class TestMageItself:
    def test_the_rest_of_the_server_is_there(self, server: RunningServer):
        assert requests.get(f"{server.url}/", timeout=30).status_code == 200
        pipelines = requests.get(f"{server.url}/api/pipelines", timeout=30).json()["pipelines"]
        assert {pipeline["uuid"] for pipeline in pipelines} >= {"behaviour", "outputs"}

    def test_an_api_trigger_starts_a_run_that_the_scheduler_completes(self, server: RunningServer):
        trigger = server.rows("SELECT id FROM pipeline_schedule WHERE pipeline_uuid = 'by_mage'")[0][0]
        response = requests.post(
            f"{server.url}/api/pipeline_schedules/{trigger}/api_trigger",
            json={"pipeline_run": {"variables": {"word": "w"}}},
            headers={"Authorization": f"Bearer {server.token('by_mage')}"},
            timeout=30,
        )
        run = response.json()["pipeline_run"]["id"]
        statement = "SELECT 1 FROM block_run WHERE pipeline_run_id = ? AND block_uuid = 'conditioned' AND status = ?"
        server.wait_for_rows(statement, run, "COMPLETED", seconds=60)
