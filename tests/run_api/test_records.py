"""What a recorded call leaves behind, and for how long."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from benchmarks.servers import RunningServer, run_api_command, start_server

RUNS = "SELECT id, status, started_at, completed_at, variables, pipeline_uuid FROM pipeline_run WHERE variables LIKE ?"


def recorded(server: RunningServer, mark: str) -> dict:
    """Wait for the run of the call whose variables hold `mark`."""
    run, status, started, completed, variables, pipeline = server.wait_for_rows(RUNS, f"%{mark}%")[0]
    return {
        "id": run,
        "status": status,
        "started_at": datetime.fromisoformat(started),
        "completed_at": datetime.fromisoformat(completed),
        "variables": json.loads(variables),
        "pipeline": pipeline,
    }


def folders(server: RunningServer) -> set[Path]:
    """Every folder of logs and of outputs."""
    return {
        folder
        for kind in (".logs", ".variables")
        for folder in (server.folder / "data").glob(f"*/pipelines/*/{kind}/*/*")
    }


class TestRecorded:
    def test_a_completed_call(self, server: RunningServer):
        mark = uuid4().hex
        before = datetime.now(UTC).replace(tzinfo=None)
        server.output("behaviour", "wait", {"seconds": 0.5, "mark": mark})
        run = recorded(server, mark)
        assert run["status"] == "COMPLETED"
        assert run["pipeline"] == "behaviour"
        assert before - timedelta(seconds=0.1) <= run["started_at"]
        assert timedelta(seconds=0.5) <= run["completed_at"] - run["started_at"] < timedelta(seconds=2)
        assert {**run["variables"], "execution_partition": None} == {
            "seconds": 0.5, "mark": mark, "execution_partition": None,
        }  # fmt: skip
        statement = "SELECT block_uuid, status, started_at, completed_at FROM block_run WHERE pipeline_run_id = ?"
        blocks = server.rows(statement, run["id"])
        assert [block[:2] for block in blocks] == [("wait", "COMPLETED")]
        assert datetime.fromisoformat(blocks[0][2]) == run["started_at"]
        assert datetime.fromisoformat(blocks[0][3]) == run["completed_at"]

    def test_a_refused_call_is_no_run(self, server: RunningServer):
        refused, mark = uuid4().hex, uuid4().hex
        for how in ("invalid", "not_ready"):
            assert 400 <= server.call("behaviour", "fail", {"how": how, "mark": refused}).status_code < 500
        server.call("behaviour", "say", {"mark": mark})
        recorded(server, mark)
        assert server.rows(RUNS, f"%{refused}%") == []

    @pytest.mark.parametrize("how", ["retry", "retry_blocks", "retry_incomplete_block_runs"])
    def test_its_record_is_never_run_again(self, server: RunningServer, how: str):
        mark = uuid4().hex
        server.call("behaviour", "fail", {"mark": mark})
        run = recorded(server, mark)
        if how == "retry_blocks":
            path, body = f"pipeline_runs/{run['id']}", {"pipeline_run": {"pipeline_run_action": how}}
        else:
            (date,) = server.rows(
                "SELECT execution_date, pipeline_schedule_id FROM pipeline_run WHERE id = ?", run["id"]
            )
            one = {
                "id": run["id"],
                "pipeline_uuid": run["pipeline"],
                "execution_date": date[0],
                "pipeline_schedule_id": date[1],
                "variables": run["variables"],
            }
            path, body = "pipelines/behaviour", {"pipeline": {"status": how, "pipeline_runs": [one]}}
        answer = requests.put(f"{server.url}/api/{path}", json=body, timeout=30).json()
        if how != "retry_incomplete_block_runs":
            assert "records a call over /api/runs" in json.dumps(answer)
        statuses = server.rows("SELECT status FROM pipeline_run WHERE variables LIKE ?", f"%{mark}%")
        assert statuses == [("FAILED",)]

    def test_a_failed_call(self, server: RunningServer):
        mark = uuid4().hex
        server.call("behaviour", "fail", {"mark": mark})
        run = recorded(server, mark)
        assert run["status"] == "FAILED"
        assert server.rows("SELECT status FROM block_run WHERE pipeline_run_id = ?", run["id"]) == [("FAILED",)]

    def test_a_call_that_took_too_long(self, tight: RunningServer):
        mark = uuid4().hex
        assert tight.call("behaviour", "wait", {"seconds": 2.5, "mark": mark}).status_code == 504
        run = recorded(tight, mark)
        assert run["completed_at"] - run["started_at"] >= timedelta(seconds=2.5)

    @pytest.mark.parametrize("block", ["write_log", "return_text"])
    def test_nothing_is_left_without_record(self, server: RunningServer, block: str):
        server.output("outputs", block, {"mark": "settle"})
        recorded(server, "settle")
        time.sleep(0.3)
        before = (server.rows("SELECT count(*) FROM pipeline_run"), folders(server))
        server.output("outputs", block, {"mark": uuid4().hex}, record=False)
        server.output("by_mage", "conditioned", {}, record=False)
        time.sleep(1)
        assert (server.rows("SELECT count(*) FROM pipeline_run"), folders(server)) == before

    def test_records_are_in_the_order_of_the_calls(self, server: RunningServer):
        mark = uuid4().hex
        for number in range(40):
            server.output("behaviour", "say", {"mark": mark, "word": number})
        rows = server.wait_for_rows(RUNS + " ORDER BY id", f"%{mark}%", count=40)
        assert [json.loads(row[4])["word"] for row in rows] == list(range(40))

    def test_a_caller_cannot_choose_where_mage_looks_for_files(self, server: RunningServer):
        mark = uuid4().hex
        server.output("behaviour", "say", {"mark": mark, "execution_partition": "../../../../escaped"})
        assert "escaped" not in json.dumps(recorded(server, mark)["variables"])

    def test_variables_that_no_database_likes(self, server: RunningServer):
        mark = uuid4().hex
        server.output("behaviour", "say", {"mark": mark, "word": "\x01 \U0001f600", "huge": 10**400})
        assert recorded(server, mark)["status"] == "COMPLETED"


class TestInMage:
    def test_the_runs_page_shows_it(self, server: RunningServer):
        mark = uuid4().hex
        server.output("outputs", "write_log", {"word": mark})
        run = recorded(server, mark)["id"]
        answer = requests.get(f"{server.url}/api/pipeline_runs?pipeline_uuid=outputs&_limit=100", timeout=30).json()
        shown = next(each for each in answer["pipeline_runs"] if each["id"] == run)
        assert shown["status"] == "completed"
        assert [block["block_uuid"] for block in shown["block_runs"]] == ["write_log"]

    def test_the_logs_page_shows_its_log(self, server: RunningServer):
        mark = uuid4().hex
        server.output("outputs", "write_log", {"word": mark})
        run = recorded(server, mark)["id"]
        answer = requests.get(f"{server.url}/api/pipelines/outputs/logs?pipeline_run_id[]={run}", timeout=30).json()
        text = "".join(log.get("content") or "" for part in answer["logs"] for log in part["block_run_logs"])
        assert f"printed {mark}" in text
        assert f"logged {mark}" in text
        assert f"by a library: {mark}" in text

    def test_the_log_of_a_failed_call_has_the_trace(self, server: RunningServer):
        mark = uuid4().hex
        server.call("behaviour", "fail", {"mark": mark})
        run = recorded(server, mark)["id"]
        answer = requests.get(f"{server.url}/api/pipelines/behaviour/logs?pipeline_run_id[]={run}", timeout=30).json()
        text = "".join(log.get("content") or "" for part in answer["logs"] for log in part["block_run_logs"])
        assert "RuntimeError: a secret of the inside" in text

    def test_concurrent_calls_have_logs_of_their_own(self, server: RunningServer):
        marks = [uuid4().hex for _ in range(4)]
        for mark in marks:
            server.output("outputs", "write_log", {"word": mark})
        for mark in marks:
            partition = recorded(server, mark)["variables"]["execution_partition"]
            logs = list((server.folder / "data").glob(f"*/pipelines/outputs/.logs/{partition}/write_log.log"))
            assert [text for text in marks if text in logs[0].read_text()] == [mark]

    def test_the_outputs_are_shown(self, server: RunningServer):
        mark = uuid4().hex
        server.output("outputs", "return_several", {"mark": mark})
        run = recorded(server, mark)["id"]
        block_run = server.rows("SELECT id FROM block_run WHERE pipeline_run_id = ?", run)[0][0]
        answer = requests.get(f"{server.url}/api/block_runs/{block_run}/outputs", timeout=30).json()
        assert len(answer["outputs"]) >= 3

    def test_outputs_look_the_same_whoever_has_written_them(self, server: RunningServer):
        """Mage itself keeps those of `conditioned`, this package those of `say`."""
        shown = []
        for pipeline, block in (("by_mage", "conditioned"), ("behaviour", "say")):
            mark = uuid4().hex
            output = server.output(pipeline, block, {"word": mark})[0]
            run = recorded(server, mark)["id"]
            block_run = server.rows("SELECT id FROM block_run WHERE pipeline_run_id = ?", run)[0][0]
            answer = requests.get(f"{server.url}/api/block_runs/{block_run}/outputs", timeout=30).json()["outputs"]
            table = answer[0]
            assert table["sample_data"] == {"columns": list(output), "rows": [list(output.values())]}
            shown.append({**table, "sample_data": None, "shape": None})
        assert shown[0] == shown[1]

    def test_no_outputs_are_kept_where_that_is_not_wanted(self, server: RunningServer):
        mark = uuid4().hex
        server.output("outputs", "return_text", {"mark": mark}, store_variables=False)
        partition = recorded(server, mark)["variables"]["execution_partition"]
        assert not list((server.folder / "data").glob(f"*/pipelines/outputs/.variables/{partition}"))
        assert list((server.folder / "data").glob(f"*/pipelines/outputs/.logs/{partition}"))

    def test_the_scheduler_executes_nothing_of_it(self, server: RunningServer):
        """The pipeline has more blocks; a run that the scheduler took up would have them all."""
        mark = uuid4().hex
        server.output("by_mage", "spread", {"mark": mark})
        run = recorded(server, mark)
        time.sleep(4)
        assert server.rows("SELECT block_uuid FROM block_run WHERE pipeline_run_id = ?", run["id"]) == [("spread",)]
        assert recorded(server, mark) == run


class TestEnd:
    def test_records_are_flushed_and_calls_end_when_the_server_stops(self, project_folder: Path):
        server = start_server(project_folder, *run_api_command(), RUN_API_RETENTION_DAYS="0.0005")
        try:
            token = server.token("behaviour")
            for number in range(60):
                body = {"run": {"pipeline_uuid": "behaviour", "block_uuid": "say", "variables": {"word": number}}}
                assert server.post(body, token).status_code == 200
            server.process.terminate()
            server.process.wait(timeout=15)
            assert server.rows("SELECT count(*) FROM pipeline_run")[0][0] == 60
        finally:
            server.stop()
        # 0.0005 days are 43 s: the next start finds them old, and removes runs, logs and outputs.
        server.folder.joinpath("server.log").write_text("")
        aged = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y%m%dT%H%M%S")
        for kind in (".logs", ".variables"):
            for folder in list((server.folder / "data").glob(f"*/pipelines/behaviour/{kind}/*/*_*")):
                folder.rename(folder.with_name(f"{aged}_{folder.name.split('_')[1]}"))
        kept = next((server.folder / "data").glob("*/pipelines/behaviour/.logs/*")) / "20200101T000000"
        kept.mkdir()
        self._age(server, int(kept.parent.name))
        again = start_server(project_folder, *run_api_command(), RUN_API_RETENTION_DAYS="1")
        try:
            deadline = time.monotonic() + 30
            while folders(again) != {kept} and time.monotonic() < deadline:
                time.sleep(0.2)
            # The run of the pipeline itself stays, and so does its log.
            assert again.rows("SELECT metrics IS NULL FROM pipeline_run") == [(1,)]
            assert again.rows("SELECT count(*) FROM block_run") == [(0,)]
            assert folders(again) == {kept}
        finally:
            again.stop()

    @staticmethod
    def _age(server: RunningServer, trigger_id: int) -> None:
        import sqlite3

        with sqlite3.connect(server.folder / "mage-ai.db") as connection:
            connection.execute("UPDATE pipeline_run SET completed_at = '2024-01-01 00:00:00.000000'")
            connection.execute(
                "INSERT INTO pipeline_run (pipeline_uuid, status, completed_at, execution_date, pipeline_schedule_id) "
                "VALUES ('behaviour', 'COMPLETED', '2024-01-01 00:00:00.000000', '2020-01-01 00:00:00.000000', ?)",
                [trigger_id],
            )
