import io
import os
import stat
import sys
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from stack.console import Console
from stack.demo import ACCESS_FILE, CALLS, curl_command, is_one_missing, say_where, show_runs
from stack.mage_client import children
from stack.mage_database import BlockRun, PipelineRun
from workflows.common.settings import Settings

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def run(run_id: int, pipeline: str, status: str = "completed", parent: int | None = None, trigger: str = "run_now"):
    return PipelineRun(
        run_id, pipeline, trigger, False, status, NOW, NOW, parent, {}, (BlockRun("block", "completed"),)
    )


WHOLE = [
    run(1, "sql_python_workflow"),
    run(2, "dynamic_blocks_workflow", parent=1),
    run(3, "ml_training_and_inference", parent=1),
    run(4, "llm_inference", parent=3),
    run(5, "spark_workflow", parent=2),
]


def test_the_chain_is_whole_when_every_run_has_started_what_it_starts():
    assert not is_one_missing(WHOLE)


@pytest.mark.parametrize("left_out", [1, 2, 3, 4])
def test_a_child_that_has_not_appeared_yet_is_waited_for(left_out):
    assert is_one_missing([item for item in WHOLE if item is not WHOLE[left_out]])


def test_a_failed_run_starts_nothing_to_wait_for():
    assert not is_one_missing([run(1, "sql_python_workflow", status="failed")])


def test_a_refresh_starts_nothing_to_wait_for():
    assert not is_one_missing([run(1, "sql_python_workflow", trigger="GLOBAL_DATA_PRODUCT_TRIGGER")])


def test_a_failed_block_is_named_with_the_address_of_its_log(capsys):
    failed = replace(WHOLE[0], status="failed", blocks=(BlockRun("load", "completed"), BlockRun("join", "failed")))
    show_runs([failed], SimpleNamespace(server=SimpleNamespace(url="http://127.0.0.1:1")), Console())
    address = "http://127.0.0.1:1/pipelines/sql_python_workflow/logs?pipeline_run_id[]=1"
    assert capsys.readouterr().out.splitlines()[-1] == f"Block join of run 1 failed; its log says why: {address}"


def test_a_setting_that_is_no_json_is_said(capsys):
    with patch.dict(os.environ, COMPANIES_API_HEADERS="X-Api-Key: secret"):
        assert Console().run(lambda: len(repr(Settings()))) == 1
    said = capsys.readouterr().out
    assert "COMPANIES_API_HEADERS: has to be a JSON object with double quotes" in said
    assert "secret" not in said


def test_children_are_those_that_name_the_run():
    assert [child.id for child in children(WHOLE, WHOLE[0])] == [2, 3]


def test_the_calls_are_the_documented_ones():
    assert [(call.pipeline, call.block) for call in CALLS] == [
        ("ml_training_and_inference", "online_inference"),
        ("llm_inference", "will_i_survive"),
    ]
    assert all(isinstance(value, str) for value in CALLS[0].example.values())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stack(tmp_path):
    return SimpleNamespace(
        settings=SimpleNamespace(state_dir=tmp_path, owner_email="owner@localhost"),
        secrets=SimpleNamespace(owner_password="the-password"),
        server=SimpleNamespace(url="http://127.0.0.1:1", needs_sign_in=True),
        trigger=lambda pipeline, _: SimpleNamespace(token=f"token-of-{pipeline}"),
    )


def said_where(stack, monkeypatch, output: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stdout", output)
    say_where(stack, Console())
    return output.getvalue()


@pytest.mark.parametrize("variable", ["NONE", "FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_log_gets_no_password_and_no_token_but_the_file_that_holds_them(stack, monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, "1")
    said = said_where(stack, monkeypatch, io.StringIO())
    path = tmp_path / ACCESS_FILE
    assert "the-password" not in said
    assert "token-of" not in said
    assert f"http://127.0.0.1:1\n  login     with the two calls, ready to paste, in {path}" in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert "owner@localhost\n  password  the-password" in text
    assert all(curl_command(stack, call) in text for call in CALLS)


def test_a_terminal_gets_all_and_no_file_is_left(stack, monkeypatch, tmp_path):
    said = said_where(stack, monkeypatch, Terminal())
    assert "the-password" in said
    assert all(f"token-of-{call.pipeline}" in said for call in CALLS)
    assert list(tmp_path.iterdir()) == []


def test_without_sign_in_there_is_no_password(stack, monkeypatch, tmp_path):
    stack.server.needs_sign_in = False
    said_where(stack, monkeypatch, io.StringIO())
    assert "password" not in (tmp_path / ACCESS_FILE).read_text()
