"""What a user with the role Viewer reads over Mage's API, and what nobody reads: files beside the project, tokens."""

import json
from urllib.parse import quote

import pytest

from benchmarks.servers import RunningServer
from tests.security.conftest import Client

SECRETS = ("SECRET-OF-STATE", "SECRET-OUTSIDE", "SECRET-OF-ENV", "root:")
KINDS = ("browser_items", "file_contents", "files", "folders", "blocks", "custom_templates", "cache_items")
PLACEHOLDER = "[API_TOKEN_PLACEHOLDER]"


def forbidden_paths(server: RunningServer) -> list[str]:
    project = server.project
    absolute = [project / ".state" / "secrets.json", project / "link.txt", server.folder / "outside.txt"]
    relative = [".state/secrets.json", "link.txt", "project/.state/secrets.json", "project/link.txt", ".env"]
    return ["/etc/passwd", *map(str, absolute), str(project / ".env"), "outside.txt", *relative]


def attempts(server: RunningServer) -> list[str]:
    paths = [f"/api/{kind}/{quote(path, safe='')}" for kind in KINDS for path in forbidden_paths(server)]
    paths += [f"/api/blocks/x?file_path={quote(path, safe='')}" for path in forbidden_paths(server)]
    paths += [f"/api/files/{quote(path, safe='')}/file_versions" for path in forbidden_paths(server)]
    folders = ["/etc", str(server.folder), str(server.project / ".state")]
    return paths + [f"/api/browser_items?directory={quote(folder, safe='')}&exclude_pattern=" for folder in folders]


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


@pytest.fixture(scope="module")
def all_tokens(locked: RunningServer) -> list[str]:
    locked.call("behaviour", "say", {"word": "a run with its trigger"})
    locked.wait_for_rows("SELECT id FROM pipeline_run")
    return [row[0] for row in locked.rows("SELECT token FROM pipeline_schedule WHERE token IS NOT NULL")]


class TestFiles:
    def test_a_viewer_reads_nothing_beside_the_project(self, locked: RunningServer, viewer: Client):
        for path in attempts(locked):
            assert not leaks(viewer.get(path).text), path

    def test_nor_does_the_owner(self, locked: RunningServer, owner: Client):
        for path in attempts(locked):
            assert not leaks(owner.get(path).text), path

    def test_a_listing_leaves_out_the_state_folder(self, locked: RunningServer, viewer: Client):
        answer = viewer.get("/api/browser_items?exclude_pattern=")
        names = {item["name"] for item in answer.json()["browser_items"]}
        assert "say.py" in names
        assert not names & {"secrets.json", "link.txt", ".env", "outside.txt"}
        assert "passwd" not in viewer.get("/api/browser_items?directory=%2Fetc").text

    def test_nobody_writes_beside_the_project(self, locked: RunningServer, owner: Client):
        target = locked.folder / "written.txt"
        for path in (str(target), str(locked.project / ".state" / "written.txt")):
            owner.post("/api/browser_items", json={"browser_item": {"path": path, "content": "x"}})
            owner.send("PUT", f"/api/file_contents/{quote(path, safe='')}", json={"file_content": {"content": "x"}})
        assert not target.exists()
        assert [file.name for file in (locked.project / ".state").glob("written*")] == []

    def test_no_download_of_a_file_beside_the_project(self, locked: RunningServer, owner: Client):
        for path in forbidden_paths(locked):
            answer = owner.post(f"/api/files/{quote(path, safe='')}/downloads", json={"download": {}})
            assert "token" not in answer.json().get("download", {}), path

    def test_the_project_is_still_read_and_written(self, locked: RunningServer, viewer: Client, owner: Client):
        path = quote("custom/say.py", safe="")
        assert "word" in viewer.get(f"/api/file_contents/{path}").json()["file_content"]["content"]
        item = quote(str(locked.project / "custom" / "say.py"), safe="")
        assert "word" in viewer.get(f"/api/browser_items/{item}").json()["browser_item"]["content"]
        new = quote("custom/wait.py", safe="")
        content = (locked.project / "custom" / "wait.py").read_text() + "# edited\n"
        answer = owner.send("PUT", f"/api/file_contents/{new}", json={"file_content": {"content": content}})
        assert "error" not in answer.json(), answer.text
        assert (locked.project / "custom" / "wait.py").read_text() == content


class TestTokens:
    PATHS = (
        "/api/pipeline_runs",
        "/api/pipeline_schedules",
        "/api/pipelines/behaviour/pipeline_schedules",
        "/api/pipelines/behaviour/pipeline_runs",
        "/api/pipelines?include_schedules=1",
        "/api/pipelines/behaviour?include_schedules=1",
        "/api/pipelines/behaviour/pipeline_triggers",
        "/api/event_matchers?include_pipeline_schedules=1",
    )

    @pytest.mark.parametrize("path", PATHS)
    def test_answers_hold_no_token(self, viewer: Client, owner: Client, all_tokens: list[str], path: str):
        for client in (viewer, owner):
            text = client.get(path).text
            assert not [token for token in all_tokens if token in text], path

    def test_a_run_says_that_its_token_is_hidden(self, viewer: Client, all_tokens: list[str]):
        runs = viewer.get("/api/pipeline_runs").json()["pipeline_runs"]
        assert {run["pipeline_schedule_token"] for run in runs} == {PLACEHOLDER}

    def test_the_owner_sees_a_token_that_is_rotated(self, locked: RunningServer, owner: Client):
        schedule, old = locked.rows("SELECT id, token FROM pipeline_schedule WHERE pipeline_uuid = 'inactive'")[0]
        body = json.dumps({"pipeline_schedule": {"id": schedule, "rotate_token": True}})
        shown = owner.send("PUT", f"/api/pipeline_schedules/{schedule}", data=body).json()["pipeline_schedule"]["token"]
        new = locked.rows("SELECT token FROM pipeline_schedule WHERE id = ?", schedule)[0][0]
        assert shown == new
        assert new != old
