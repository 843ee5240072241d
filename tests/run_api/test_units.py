"""The parts of run_api without a server."""

import asyncio
import json
import os
import threading
import time
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mage_server.callable_blocks import CALLABLE_BLOCKS, attribute_schema
from mage_server.run_api import redaction, schema
from mage_server.run_api.http_errors import ApiError
from mage_server.run_api.pool import Pool, PoolClosedError, PoolFullError
from mage_server.run_api.request import MAX_DEPTH, RunRequest, parse_body
from mage_server.run_api.trigger_tokens import (
    Trigger,
    TriggerCache,
    authenticate,
    authorize,
    bearer_token,
    token_digest,
)
from workflows.sql_python.passengers import ATTRIBUTES, parse_value

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def status_of(body: bytes) -> int:
    try:
        parse_body(body)
    except ApiError as error:
        return error.status
    return 200


class TestParseBody:
    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_request_or_refused(self, body: bytes):
        assert status_of(body) in (200, 400, 422)

    @given(JSON)
    def test_any_json_is_a_request_or_refused(self, payload):
        for body in (payload, {"run": payload}):
            assert status_of(json.dumps(body).encode()) in (200, 400, 422)

    @given(st.dictionaries(st.text(), JSON, max_size=5).filter(lambda variables: "remote_blocks" not in variables))
    def test_variables_arrive_as_they_were_sent(self, variables: dict):
        run = {"pipeline_uuid": "p", "block_uuid": "b", "variables": variables}
        parsed = parse_body(json.dumps({"run": run}, ensure_ascii=False).encode())
        assert parsed == RunRequest("p", "b", variables, True, True, False, False)

    def test_defaults_are_not_shared(self):
        body = b'{"run": {"pipeline_uuid": "p", "block_uuid": "b"}}'
        parse_body(body).variables["x"] = 1
        assert parse_body(body).variables == {}

    @pytest.mark.parametrize(("depth", "is_fine"), [(MAX_DEPTH - 4, True), (MAX_DEPTH, False), (900, False)])
    def test_depth(self, depth: int, is_fine: bool):
        nested = "[" * depth + "]" * depth
        body = f'{{"run": {{"pipeline_uuid": "p", "block_uuid": "b", "variables": {{"x": {nested}}}}}}}'.encode()
        if is_fine:
            parse_body(body)
        else:
            with pytest.raises(ApiError, match="nested"):
                parse_body(body)


class TestTokens:
    TRIGGERS = (
        Trigger(1, "a", True, token_digest("one")),
        Trigger(2, "a", False, token_digest("two")),
        Trigger(3, "b", True, token_digest("three")),
    )

    @given(st.text())
    def test_only_the_very_token_matches(self, token: str):
        if token in ("one", "two", "three"):
            assert len(authenticate(self.TRIGGERS, token)) == 1
        else:
            with pytest.raises(ApiError) as caught:
                authenticate(self.TRIGGERS, token)
            assert caught.value.status == 401

    def test_every_token_is_compared(self, monkeypatch: pytest.MonkeyPatch):
        compared = []
        monkeypatch.setattr(
            "mage_server.run_api.trigger_tokens.hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b
        )
        authenticate(self.TRIGGERS, "one")
        assert [each[0] for each in compared] == [trigger.digest for trigger in self.TRIGGERS]

    @pytest.mark.parametrize(("token", "pipeline"), [("two", "a"), ("one", "b"), ("three", "a")])
    def test_403(self, token: str, pipeline: str):
        with pytest.raises(ApiError) as caught:
            authorize(authenticate(self.TRIGGERS, token), pipeline)
        assert caught.value.status == 403

    @pytest.mark.parametrize(
        ("header", "token"),
        [("Bearer a", "a"), ("bearer  a ", "a"), ("Basic a", None), ("a", None), ("", None), (None, None)],
    )
    def test_bearer_token(self, header: str | None, token: str | None):
        assert bearer_token(header) == token

    def test_the_table_is_read_once_for_many_and_again_when_old(self):
        reads = []

        async def scenario() -> None:
            table = TriggerCache(lambda: reads.append(1) or self.TRIGGERS, ttl_seconds=0.2)
            await asyncio.gather(*(table.get() for _ in range(20)))
            assert len(reads) == 1
            await asyncio.sleep(0.25)
            await table.get()
            assert len(reads) == 2

        asyncio.run(scenario())


class TestPool:
    def test_full_closed_withdrawn(self):
        async def scenario() -> None:
            pool = Pool(workers=1, queue=1)
            go, begun = threading.Event(), threading.Event()
            ran = []

            def work(name: str):
                def run(job):
                    begun.set()
                    go.wait(10)
                    ran.append(name)
                    job.resolve(name)

                return run

            first = pool.submit(work("first"))
            begun.wait(10)
            second = pool.submit(work("second"))
            with pytest.raises(PoolFullError):
                pool.submit(work("third"))
            assert not pool.cancel(first)
            assert pool.cancel(second)
            fourth = pool.submit(work("fourth"))
            go.set()
            assert await first.future == "first"
            assert await fourth.future == "fourth"
            pool.close()
            with pytest.raises(PoolClosedError):
                pool.submit(work("fifth"))
            assert pool.wait_idle(5)
            assert ran == ["first", "fourth"]

        asyncio.run(scenario())

    def test_a_worker_survives_what_work_raises(self):
        async def scenario() -> None:
            pool = Pool(workers=1, queue=1)

            def fail(job):
                raise SystemExit(1)

            with pytest.raises(SystemExit):
                await pool.submit(fail).future
            assert await pool.submit(lambda job: job.resolve("fine")).future == "fine"

        asyncio.run(scenario())


class TestRedaction:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("401 POST /api/runs/abc (::1) 1ms", "401 POST /api/runs/[token] (::1) 1ms"),
            ("uri='/api/runs/abc', x", "uri='/api/runs/[token]', x"),
            ("/api/runs/abc?x=1", "/api/runs/[token]?x=1"),
            ("/api/pipeline_schedules/3/pipeline_runs/abc", "/api/pipeline_schedules/3/pipeline_runs/[token]"),
            ("/api/runs/schema/a/b", "/api/runs/schema/a/b"),
            ("/x?token=abc&y=1", "/x?token=[token]&y=1"),
            ("/api/pipelines", "/api/pipelines"),
        ],
    )
    def test_redact(self, text: str, expected: str):
        assert redaction.redact(text) == expected


class TestSchema:
    @pytest.mark.parametrize("block", CALLABLE_BLOCKS, ids=lambda block: block.block)
    def test_the_example_obeys_the_schema(self, block):
        found = schema.variables_schema(block)
        jsonschema.Draft202012Validator.check_schema(found)
        jsonschema.validate(block.example, found)

    @pytest.mark.parametrize("column", ATTRIBUTES, ids=lambda column: column.name)
    @given(
        value=st.none()
        | st.integers(-200, 200_000)
        | st.floats(-200, 200_000)
        | st.text(max_size=5)
        | st.sampled_from(["male", "S", "3", "3.0", "1e1", "", "unknown", "nan"])
    )
    def test_what_the_schema_refuses_the_block_refuses(self, column, value):
        """The other way round it may differ: text in another case or with spaces, bounds of numbers in text."""
        validator = jsonschema.Draft202012Validator(attribute_schema(column))
        try:
            parse_value(column, value)
        except ValueError:
            is_fine = False
        else:
            is_fine = True
        if validator.is_valid(value) and not isinstance(value, str):
            assert is_fine
        if is_fine and not isinstance(value, str):
            assert validator.is_valid(value) or column.kind == "text"


class TestBlocks:
    @pytest.mark.parametrize(
        ("pipeline", "block", "is_plain"),
        [
            ("outputs", "return_frame", True),
            ("outputs", "return_inputs", True),
            ("behaviour", "wait", True),
            ("by_mage", "conditioned", False),
            ("by_mage", "spread", False),
            ("by_mage", "spread_child", False),
        ],
    )
    def test_which_blocks_mage_executes(self, pipeline: str, block: str, is_plain: bool):
        from mage_server.run_api.blocks import Blocks

        blocks = Blocks(Path(__file__).parent / "project")
        assert (blocks.find(pipeline, block).compiled is not None) is is_plain

    def test_the_documented_blocks_are_executed_without_mage(self):
        from mage_server.run_api.blocks import Blocks
        from workflows.common.settings import REPO_PATH

        blocks = Blocks(REPO_PATH)
        assert all(blocks.find(block.pipeline, block.block).compiled is not None for block in CALLABLE_BLOCKS)

    def test_an_unchanged_block_is_compiled_once(self):
        from mage_server.run_api.blocks import Blocks

        blocks = Blocks(Path(__file__).parent / "project")
        assert blocks.find("behaviour", "say") is blocks.find("behaviour", "say")


class TestWatchedFile:
    def test_changes(self, tmp_path: Path):
        from mage_server.run_api.watched_file import WatchedFile

        path = tmp_path / "file"
        path.write_text("one")
        watched = WatchedFile(path)
        assert watched.has_changed()
        assert not watched.has_changed()
        # Other bytes, same length, same time stamp: too young to be believed.
        stamp = path.stat().st_mtime_ns
        path.write_text("two")
        os.utime(path, ns=(stamp, stamp))
        assert watched.has_changed()
        assert watched.content == b"two"
        path.unlink()
        with pytest.raises(FileNotFoundError):
            watched.has_changed()

    def test_an_old_file_is_not_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        from mage_server.run_api.watched_file import WatchedFile

        path = tmp_path / "file"
        path.write_text("one")
        old = time.time() - 60
        os.utime(path, (old, old))
        watched = WatchedFile(path)
        assert watched.has_changed()
        monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read again"))
        assert not watched.has_changed()
