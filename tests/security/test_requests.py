"""Host, Origin, sign-in, errors, statuses and headers of Mage's own HTTP API."""

import time

import pytest
import requests

from benchmarks.servers import RunningServer
from tests.security.conftest import FOREIGN, OWNER, PASSWORD, Client, sign_in

TRACES = ("Traceback", "site-packages", "/usr/", ".py", ", line ")
PAGES = ("/", "/pipelines", "/api/statuses", "/api/pipelines", "/no-such-path", "/favicon.ico", "/api/runs")


class TestHost:
    @pytest.mark.parametrize("path", [*PAGES, "/api/runs/health/live"])
    def test_another_name_for_this_machine_gets_nothing(self, open_server: RunningServer, path: str):
        for host in ("evil.example", "evil.example:6789", "127.0.0.1.evil.example", "203.0.113.5"):
            answer = Client(open_server).get(path, headers={"Host": host})
            assert answer.status_code == 403, (host, answer.text[:200])

    def test_the_usual_names_work(self, open_server: RunningServer):
        for host in ("localhost", "127.0.0.1:6789", "LOCALHOST:1", "[::1]:6789", "app.localhost"):
            assert Client(open_server).get("/api/statuses", headers={"Host": host}).status_code == 200

    def test_names_of_the_settings_work(self, owner: Client):
        assert owner.get("/api/statuses", headers={"Host": "mage.example.com"}).status_code == 200
        assert owner.get("/api/statuses", headers={"Host": "evil.example"}).status_code == 403
        body = {"pipeline": {"name": "from proxy", "type": "python"}}
        own = {"Origin": "https://mage.example.com"}
        assert "error" not in owner.post("/api/pipelines", json=body, headers=own).json()


class TestOrigin:
    @pytest.mark.parametrize("origin", [FOREIGN, "null", "http://127.0.0.1:1", "http://localhost.evil.example"])
    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_writes_of_foreign_pages_are_refused(self, open_server: RunningServer, method: str, origin: str):
        headers = {"Origin": origin, "Content-Type": "text/plain"}
        for path in ("/api/pipelines", "/api/pipelines/behaviour", "/api/kernels/python3"):
            assert Client(open_server).send(method, path, headers=headers, data="{}").status_code == 403
        assert (open_server.project / "pipelines" / "behaviour" / "metadata.yaml").exists()

    def test_foreign_pages_may_read_nothing(self, open_server: RunningServer):
        answer = Client(open_server).get("/api/pipelines", headers={"Origin": FOREIGN})
        assert "Access-Control-Allow-Origin" not in answer.headers

    def test_own_pages_and_programs_may_write(self, open_server: RunningServer):
        for number, headers in enumerate(({"Origin": open_server.url}, {})):
            body = {"pipeline": {"name": f"written {number}", "type": "python"}}
            assert "error" not in Client(open_server).post("/api/pipelines", json=body, headers=headers).json()

    def test_calls_with_a_token_of_their_own_need_no_origin(self, open_server: RunningServer):
        body = {"run": {"pipeline_uuid": "behaviour", "block_uuid": "say", "variables": {"word": "x"}}}
        headers = {"Origin": FOREIGN, "Authorization": f"Bearer {open_server.token('behaviour')}"}
        assert Client(open_server).post("/api/runs", json=body, headers=headers).status_code == 200


class TestSignIn:
    def test_an_unknown_user_takes_as_long_as_a_known_one(self, locked: RunningServer, owner: Client):
        def seconds(email: str) -> float:
            started = time.monotonic()
            assert "error" in sign_in(locked, email, "wrong").json()
            return time.monotonic() - started

        unknown, known = seconds("nobody@localhost.localdomain"), seconds(OWNER)
        assert 0.5 < unknown / known < 2

    def test_repeated_wrong_passwords_have_to_wait(self, throttled: RunningServer):
        answers = [sign_in(throttled, OWNER, f"wrong {number}") for number in range(12)]
        refused = [answer.json()["error"] for answer in answers if answer.status_code == 429]
        assert len(refused) >= 5
        assert "try again in" in refused[-1]["message"]
        # Also with the right password, or waiting would be no hindrance.
        assert sign_in(throttled, OWNER).status_code == 429
        unknown = [sign_in(throttled, "nobody@x.localdomain", "wrong").status_code for _ in range(12)]
        assert unknown.count(429) >= 5

    def test_what_is_no_password_is_refused(self, locked: RunningServer):
        for session in ({}, {"email": 1, "password": []}, {"email": "a\0b", "password": "x"}, {"email": OWNER}):
            answer = Client(locked).post("/api/sessions", json={"session": session})
            assert 400 <= answer.status_code < 500, answer.text


class TestErrors:
    def check(self, answer: requests.Response, status: int) -> None:
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["code"] == status
        assert not [trace for trace in TRACES if trace in answer.text], answer.text

    @pytest.mark.parametrize("headers", [{}, {"Referer": "http://127.0.0.1/"}])
    def test_a_trigger_answers_with_a_status(self, locked: RunningServer, headers: dict[str, str]):
        schedule = locked.rows("SELECT id FROM pipeline_schedule WHERE pipeline_uuid = 'behaviour'")[0][0]
        token = locked.token("behaviour")
        client, path = Client(locked), f"/api/pipeline_schedules/{schedule}"
        bearer = headers | {"Authorization": f"Bearer {token}"}
        wrong = headers | {"Authorization": "Bearer wrong"}
        self.check(client.post(f"{path}/api_trigger", headers=wrong, json={}), 401)
        self.check(client.post(f"{path}/api_trigger", headers=headers), 401)
        self.check(client.post(f"{path}/pipeline_runs/wrong", headers=headers, json={}), 401)
        for unknown in ("999999", "abc", "9" * 40):
            other = f"/api/pipeline_schedules/{unknown}"
            self.check(client.post(f"{other}/api_trigger", headers=bearer, json={}), 404)
            self.check(client.post(f"{other}/pipeline_runs/{token}", headers=headers, json={}), 404)
        for body in ("{", "[]", '{"pipeline_run": 1}', '{"pipeline_run": {"variables": {"a": "\\u0000"}}}'):
            self.check(client.post(f"{path}/api_trigger", headers=bearer, data=body), 400)
        assert client.post(f"{path}/api_trigger", headers=bearer, json={}).json()["pipeline_run"]["id"]

    def test_a_program_gets_a_status_and_the_ui_an_answer_that_it_reads(self, locked: RunningServer, owner: Client):
        page = {"Referer": f"{locked.url}/pipelines", "Sec-Fetch-Site": "same-origin"}
        for path, code in (("/api/pipeline_runs/999999", 404), ("/api/pipelines/no_such", 500)):
            answer = owner.get(path)
            assert answer.status_code == answer.json()["error"]["code"] >= 400, (path, code)
            of_page = owner.get(path, headers=page)
            assert of_page.status_code == 200
            assert of_page.json()["error"]["message"]
            for each in (answer, of_page):
                assert not [trace for trace in TRACES[:3] if trace in each.text], each.text

    def test_outputs_ask_for_a_user(self, locked: RunningServer, owner: Client):
        path = "/api/pipelines/behaviour/blocks/say/analyses"
        self.check(Client(locked).get(path), 401)
        self.check(Client(locked).get("/event-streams/any"), 401)
        assert owner.get(path).status_code != 401


class TestStatuses:
    @pytest.mark.parametrize("path", ["/api/statuses", "/api/status", "/api/statuses?_format=with_activity_details"])
    def test_a_stranger_learns_neither_paths_nor_processes(self, locked: RunningServer, owner: Client, path: str):
        answer = Client(locked).get(path)
        status = answer.json()["statuses"][0]
        assert status["require_user_authentication"] is True
        assert status["scheduler_status"]
        assert str(locked.folder) not in answer.text
        assert status["server_process_id"] is status["scheduler_process_id"] is status["repo_path"] is None
        assert status.get("last_user_request") is None
        assert owner.get(path).json()["statuses"][0]["repo_path"] == str(locked.project)

    def test_nothing_is_left_out_where_nobody_signs_in(self, open_server: RunningServer):
        status = Client(open_server).get("/api/statuses").json()["statuses"][0]
        assert status["repo_path"] == str(open_server.project)


class TestHeaders:
    @pytest.mark.parametrize("path", PAGES)
    def test_every_answer_has_them(self, open_server: RunningServer, path: str):
        headers = Client(open_server).get(path).headers
        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_the_ui_signs_in(locked: RunningServer, owner: Client):
    origin = {"Origin": locked.url, "Referer": f"{locked.url}/sign-in", "Sec-Fetch-Site": "same-origin"}
    body = {"session": {"email": OWNER, "password": PASSWORD}}
    assert Client(locked).post("/api/sessions", json=body, headers=origin).json()["session"]["token"]


def test_its_cookie_counts_as_signed_in(locked: RunningServer, owner: Client):
    body = {"session": {"email": OWNER, "password": PASSWORD}}
    cookie = Client(locked).post("/api/sessions", json=body).json()["session"]["token"]

    def repo_path(cookie: str) -> str | None:
        answer = Client(locked).get("/api/statuses", headers={"Cookie": f"a=b; oauth_token={cookie}"})
        return answer.json()["statuses"][0]["repo_path"]

    assert repo_path(cookie) == str(locked.project)
    assert repo_path(cookie + "x") is None
    assert repo_path("x") is None
