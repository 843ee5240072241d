from pathlib import Path

import pytest
from sklearn.pipeline import Pipeline

from stack import models as commands
from workflows.common.settings import Settings
from workflows.ml_training_and_inference import registry, training_log
from workflows.ml_training_and_inference.champion import load_champion
from workflows.ml_training_and_inference.registry import DATABASE_FILE, Metric, Registry


@pytest.fixture
def models(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    settings = Settings(state_dir=tmp_path)
    monkeypatch.setattr(commands, "get_settings", lambda: settings)
    settings.models_dir.mkdir()
    (settings.models_dir / DATABASE_FILE).write_bytes(empty_store.read_bytes())
    return Registry(settings.models_dir)


@pytest.fixture
def three(models: Registry, pipeline: Pipeline, titanic) -> Registry:
    """Three versions: one served before, one is the champion, one was rejected."""
    for number, rejected in (("1", ()), ("2", ()), ("3", ("worse [b]than[/b] it",))):
        with models.run("training") as run_id:
            means = [Metric(f"stratified/{name}_mean", 0.8123, 0, 0) for name in commands.METRICS]
            models.log(run_id, {}, means, {})
            if number != "1":
                models.log_texts(run_id, training_log.mlflow_model(pipeline, titanic.head(1), {}))
            models.add_version(run_id, "f", rejected)
    models.client.set_registered_model_alias(registry.NAME, registry.CHAMPION, "1")
    models.promote("2")
    return models


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = commands.main(list(arguments))
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out


def test_list(three: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["list"], []):
        code, out = run(capsys, *arguments)
        lines = out.splitlines()
        assert code == 0
        assert [line.split()[0] for line in lines[:4]] == ["version", "3", "2", "1"]
        for line, status in zip(lines[1:4], ("rejected", "champion", "served before"), strict=True):
            assert f" {status} " in line
        assert all("0.8123" in line for line in lines[1:4])
        assert "3 is rejected: worse [b]than[/b] it" in lines


def test_list_without_versions(models: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "list")
    assert code == 0
    assert "run pipeline ml_training_and_inference" in out


def test_a_rejected_version_is_promoted_by_force_alone_and_rolled_back(
    three: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = run(capsys, "promote", "3")
    assert code == 1
    assert "worse [b]than[/b] it" in out
    assert "FORCE=1" in out
    assert load_champion(three.models_dir).name == "2"
    assert run(capsys, "promote", "3", "--force") == (0, "3 serves from the next call on\n")
    assert load_champion(three.models_dir).name == "3"
    assert run(capsys, "rollback") == (0, "2 serves from the next call on, in place of 3\n")
    assert load_champion(three.models_dir).name == "2"


def test_what_cannot_be_promoted_is_refused(three: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    for number, reason in (("1", "1 cannot serve"), ("9", "there is no version 9")):
        code, out = run(capsys, "promote", number, "--force")
        assert code == 1
        assert out.startswith(f"Error: {reason}")
    # The only one that served before has no model.
    assert run(capsys, "rollback") == (1, "Error: there is no usable version that served before\n")
    assert load_champion(three.models_dir).name == "2"


def test_nothing_to_roll_back_to(models: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "rollback")
    assert (code, out) == (1, "Error: there is no champion: run pipeline ml_training_and_inference\n")
