"""Calls recorded by run_api are beside the runs of a pipeline, not among them."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from workflows.common.settings import REPO_PATH


@pytest.fixture
def record_calls(tmp_path: Path, mage: None) -> Callable[..., None]:
    """Return a function that records calls of a block as the server does."""
    from mage_ai.data_preparation.models.pipeline import Pipeline

    from mage_server.run_api.database import make_engine
    from mage_server.run_api.recorder import Recorder
    from mage_server.run_api.records import Record, execution_partition

    def write(count: int, pipeline: str, block: str, variables: str = "{}") -> None:
        found = Pipeline.get(pipeline, repo_path=str(REPO_PATH)).get_block(block)
        now = datetime.now(UTC)
        records = [
            Record(found, 1, execution_partition(1, now, request), request, variables, now, now, True, "")
            for request in (uuid4().hex for _ in range(count))
        ]
        Recorder(make_engine(), tmp_path).write(records)

    return write


def test_recent_runs_are_seen_behind_many_calls(pipeline_run: Callable[..., Any], record_calls: Callable[..., None]):
    from workflows.common.mage import recent_runs

    run = pipeline_run("ingestion", "run_now")
    record_calls(60, "ingestion", "export_companies")
    recent = recent_runs("ingestion", "export_companies")
    assert recent[0].id == run.id


def test_a_call_does_not_pass_for_a_run_that_was_started(
    pipeline_run: Callable[..., Any], record_calls: Callable[..., None]
):
    from workflows.common.mage import Source, trigger_once

    source = pipeline_run("ml_training_and_inference", "inference")
    record_calls(1, "llm_inference", "will_i_survive", f'{{"triggered_by_run_id": {source.id}}}')
    started = trigger_once("llm_inference", "called_from_code", Source(source.id, False), {})
    from mage_ai.orchestration.db.models.schedules import PipelineRun

    assert PipelineRun.query.get(started).metrics is None


def test_a_writer_that_has_ended_is_started_again(tmp_path: Path, mage: None, monkeypatch: pytest.MonkeyPatch):
    from mage_server.run_api.database import make_engine
    from mage_server.run_api.recorder import Recorder

    recorder, written = Recorder(make_engine(), tmp_path), []
    monkeypatch.setattr(recorder, "write", written.extend)
    assert not recorder.is_alive
    recorder.add("a record")
    assert recorder.is_alive
    assert recorder.close(10)
    assert written == ["a record"]
