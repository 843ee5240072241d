import logging
import os
import re
from pathlib import Path

import pytest
from sklearn.pipeline import Pipeline

from stack import models as commands
from workflows.common.settings import Settings
from workflows.survival import registry
from workflows.survival.card import CARD_FILE

ROW = {"split": "stratified", "classifier": "model", "accuracy": 0.84, "roc_auc": 0.885, "brier": 0.12}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(commands, "get_settings", lambda: Settings(state_dir=tmp_path))
    return tmp_path / "models"


@pytest.fixture
def names(models: Path, pipeline: Pipeline) -> list[str]:
    """Four versions: one served before, one serves, one was rejected, one is damaged."""
    kinds = [{}, {}, {"promotion": {"accepted": False, "reasons": ["worse [b]than[/b] it"]}}, {}]
    known = {"rows": 891, "metrics": {"table": [ROW | {"classifier": "sex only"}, ROW]}}
    names = []
    for kind in kinds:
        names.append(registry.save(models, pipeline, known | kind, "ab" * 32))
        if len(names) <= 2:
            registry.promote(models, names[-1], registry.PROMOTED)
    os.truncate(models / names[3] / "model.joblib", 100)
    return names


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = commands.main(list(arguments))
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out


@pytest.mark.parametrize("arguments", [["list"], []])
def test_list(names: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out = run(capsys, *arguments)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:5] == ["version", "created", "(UTC)", "status", "rows"]
    assert [line.split()[0] for line in lines[1:5]] == list(reversed(names))
    statuses = [re.split(r"\s{2,}", line.strip())[2] for line in lines[1:5]]
    assert statuses == ["unusable", "rejected", "serving", "served before"]
    for line in lines[1:5]:
        assert re.split(r"\s{2,}", line.strip())[3:7] == ["891", "0.8400", "0.8850", "0.1200"]
    assert re.search(r"promoted \d{4}-\d\d-\d\d \d\d:\d\d", lines[3])
    assert f"{names[3]} is unusable: the checksum of model.joblib differs from the one in metadata.json" in lines
    assert f"{names[2]} is rejected: worse [b]than[/b] it" in lines


def test_list_with_incomplete_metadata(names: list[str], models: Path, capsys) -> None:
    (models / names[0] / "metadata.json").write_text("{}")
    (models / names[1] / "metadata.json").unlink()
    code, out = run(capsys, "list")
    assert code == 0
    assert "no such" not in out
    assert f"{names[1]} is unusable: metadata.json is missing" in out


def test_list_without_versions(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "list")
    assert code == 0
    assert "run pipeline ml_training_and_inference" in out
    assert not models.exists()


def test_promote_and_roll_back(names: list[str], models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "promote", names[0]) == (0, f"{names[0]} serves from the next call on\n")
    assert registry.serving_version(models).name == names[0]
    assert registry.history(models)[-1].why == "promoted by hand"
    code, out = run(capsys, "rollback")
    assert code == 0
    assert f"{names[1]} serves" in out
    assert registry.serving_version(models).name == names[1]


def test_promoting_a_rejected_version_needs_force(
    names: list[str], models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = run(capsys, "promote", names[2])
    assert code == 1
    assert out.startswith("Error: ")
    assert "worse [b]than[/b] it" in out
    assert "--force" in out
    assert registry.serving_version(models).name == names[1]
    code, out = run(capsys, "promote", names[2], "--force")
    assert code == 0
    assert registry.serving_version(models).name == names[2]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_promoting_an_unusable_version_is_refused(
    names: list[str], models: Path, capsys: pytest.CaptureFixture[str], force: list[str]
) -> None:
    for name, reason in ((names[3], "checksum"), ("no such version", "there is no version no such version")):
        code, out = run(capsys, "promote", name, *force)
        assert code == 1
        assert out.startswith("Error: ")
        assert reason in out
        assert len(out.splitlines()) == 1
    assert registry.serving_version(models).name == names[1]


def test_nothing_to_roll_back_to(
    models: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        code, out = run(capsys, "rollback")
    assert (code, out) == (1, "Error: there is no usable version that served before\n")
    assert caplog.text == ""


def test_the_list_names_the_card_of_the_serving_version(models, pipeline, capsys):
    name = registry.save(models, pipeline, {"rows": 1}, "ab" * 32, {CARD_FILE: lambda _: "<html>"})
    registry.promote(models, name)
    assert str(models / name / CARD_FILE) in run(capsys)[1].replace("\n", "")
