"""No secret in what a scheduled run leaves behind, however a source fails: logs, database, outputs, the terminal."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pandas as pd
import pytest
import requests
import urllib3

from tests.failing_source import WAYS, FailingSource
from workflows.common import http
from workflows.common.settings import REPO_PATH, get_settings

BLOCKS = {
    "load_companies": ("ingestion", "run_now"),
    "load_passengers": ("sql_python_workflow", "run_now"),
    "build_decision_framework": ("llm_inference", "called_from_code"),
}


@pytest.fixture(scope="module", autouse=True)
def installed(mage: None) -> Iterator[None]:
    """Mage as the launcher changes it."""
    from mage_ai.data_preparation.logging.logger import DictLogger
    from mage_ai.data_preparation.models.block import Block
    from mage_ai.data_preparation.models.variable import Variable

    from mage_server import block_logs, redaction

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Block, "_redirect_streams", Block._redirect_streams)
        patch.setattr(DictLogger, "exception", DictLogger.exception)
        patch.setattr(Variable, "write_data", Variable.write_data)
        patch.setattr(Variable, "write_data_async", Variable.write_data_async)
        block_logs.install()
        redaction.install()
        yield


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingSource]:
    """A source that the settings name with a secret of its own."""
    monkeypatch.setattr(http, "FIRST_DELAY_SECONDS", 0.01)
    # Between the attempts that a block's `retry_config` asks for.
    monkeypatch.setattr("mage_ai.shared.retry.time", SimpleNamespace(sleep=lambda _: None))
    with FailingSource(f"secret-{uuid4().hex}") as made:
        yield made


@dataclass(frozen=True)
class Run:
    """What a block's run left in the database and on the terminal."""

    error: str | None
    terminal: str


@pytest.fixture
def run_scheduled(
    pipeline_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str, FailingSource], Run]:
    """Return a function that runs one block on a source as the scheduler does, in a process of its own."""
    from mage_ai.data_preparation.models.pipeline import Pipeline
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun
    from mage_ai.orchestration.pipeline_scheduler import run_block

    from mage_server.job_queue import BlockWorker
    from workflows.passengers.files import load_passengers

    # Those that an earlier test made write to a terminal that is closed; the worker makes its own.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    def run(block: str, source: FailingSource) -> Run:
        for name, value in source.environment().items():
            monkeypatch.setenv(name, value)
        pipeline, trigger = BLOCKS[block]
        running = PipelineRun.PipelineRunStatus.RUNNING
        made = pipeline_run(pipeline, trigger, status=running, execution_date=datetime.now(UTC))
        record = BlockRun.get(pipeline_run_id=made.id, block_uuid=block)
        if block == "build_decision_framework":
            manager = Pipeline.get(pipeline, repo_path=str(REPO_PATH)).variable_manager
            users = load_passengers(str(REPO_PATH / "data" / "titanic.csv"))
            partition = made.execution_partition
            manager.add_variable(pipeline, "deduplicate_users", "output_0", users, partition=partition)
        worker = BlockWorker(["job", run_block, [made.id, record.id, {}, {}], {}])
        worker.start()
        worker.join(60)
        db_connection.session.expire_all()
        record = BlockRun.query.get(record.id)
        assert record.status in (BlockRun.BlockRunStatus.FAILED, BlockRun.BlockRunStatus.COMPLETED)
        return Run((record.metrics or {}).get("error", {}).get("message"), "".join(capfd.readouterr()))

    return run


def places_of(secret: str, run: Run) -> list[str]:
    """Return what holds a secret: the terminal, and files of the state folder, which has Mage's database, too."""
    texts = {str(path): path.read_bytes() for path in get_settings().state_dir.rglob("*") if path.is_file()}
    texts["terminal"] = run.terminal.encode()
    return [place for place, text in texts.items() if secret.encode() in text]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("block", BLOCKS)
def test_a_source_that_fails(
    block: str,
    way: str,
    source: FailingSource,
    run_scheduled: Callable[[str, FailingSource], Run],
):
    source.way = way
    run = run_scheduled(block, source)
    assert run.error is not None
    assert places_of(source.secret, run) == []


def raise_of_requests(url: str) -> None:
    with requests.Session() as session:
        retries = urllib3.Retry(1, backoff_factor=0, status_forcelist=[500])
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        session.get(url, timeout=1)


def raise_status_of_requests(url: str) -> None:
    requests.get(url, timeout=1).raise_for_status()


def raise_of_urllib3(url: str) -> None:
    urllib3.PoolManager().request("GET", url, retries=urllib3.Retry(1, status_forcelist=[500]))


def raise_of_httpx(url: str) -> None:
    httpx.get(url, timeout=1).raise_for_status()


def raise_with_cause(url: str) -> None:
    try:
        raise_status_of_requests(url)
    except requests.HTTPError as error:
        raise RuntimeError("the source failed") from error


def raise_in_group(url: str) -> None:
    raise ExceptionGroup(f"all of {url}", [ValueError(url), RuntimeError({"headers": url})])


def print_and_return(url: str) -> pd.DataFrame:
    print(url)  # noqa: T201
    return pd.DataFrame({"id": [1], "source": [url]})


@pytest.mark.parametrize(
    "load",
    [
        raise_of_requests,
        raise_status_of_requests,
        raise_of_urllib3,
        raise_of_httpx,
        raise_with_cause,
        raise_in_group,
        print_and_return,
    ],
)
def test_what_a_library_raises_or_a_block_returns(
    load: Callable[[str], Any],
    source: FailingSource,
    run_scheduled: Callable[[str, FailingSource], Run],
    monkeypatch: pytest.MonkeyPatch,
):
    from workflows.ingestion import companies

    source.way = "500"
    monkeypatch.setattr(companies, "load_companies", lambda _settings, url, *_: load(url))
    run = run_scheduled("load_companies", source)
    assert (run.error is None) == (load is print_and_return)
    assert load.__name__ in (run.error or "print_and_return")
    assert places_of(source.secret, run) == []
