import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from workflows.common.errors import NotReadyError
from workflows.ml_training_and_inference import artifact, champion
from workflows.ml_training_and_inference.artifact import UnusableVersionError, Version
from workflows.ml_training_and_inference.champion import CHAMPION_FILE, keep_champion, kept_champion, load_champion


@pytest.fixture
def kept(tmp_path: Path, pipeline: Pipeline) -> Path:
    keep_champion(tmp_path, Version("1", "run a", pipeline))
    return tmp_path


def test_a_model_that_went_through_json_predicts_the_same_bytes(pipeline: Pipeline, titanic: pd.DataFrame) -> None:
    again = artifact.from_dict(json.loads(json.dumps(artifact.to_dict(pipeline), allow_nan=False)))
    assert again.predict_proba(titanic).tobytes() == pipeline.predict_proba(titanic).tobytes()
    assert vars(again["features"]) == vars(pipeline["features"])


def test_a_champion_is_read_once_until_another_one_is_kept(
    kept: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_champion(kept)
    assert (first.name, first.run_id) == ("1", "run a")
    with monkeypatch.context() as patch:
        patch.setattr(champion, "_read", lambda *_: pytest.fail("read again"))
        assert load_champion(kept) is first
    keep_champion(kept, Version("2", "run b", pipeline))
    assert load_champion(kept).name == "2"
    assert kept_champion(kept) == ("2", "run b")


@pytest.mark.parametrize("damage", ["cut", "empty", "removed", "other features"])
def test_a_damaged_champion_that_was_loaded_goes_on_serving(
    kept: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = load_champion(kept)
    path = kept / CHAMPION_FILE
    text = path.read_text()
    match damage:
        case "removed":
            path.unlink()
        case "other features":
            path.write_text(text.replace('"is_female"', '"is_male"'))
        case _:
            path.write_text(text[: 1000 * (damage == "cut")])
    assert [load_champion(kept) for _ in range(3)] == [before] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "version 1, which was loaded before, goes on serving" in caplog.text
    assert kept_champion(kept) is None
    path.write_text(text)
    os.utime(path, ns=(1, 1))
    assert load_champion(kept).name == "1"


def test_a_damaged_champion_that_was_never_loaded_is_named(kept: Path) -> None:
    path = kept / CHAMPION_FILE
    path.write_text(path.read_text()[:1000])
    errors = []
    for _ in range(2):
        with pytest.raises(NotReadyError, match=r"champion\.json cannot be used .* run pipeline ml_training") as caught:
            load_champion(kept)
        errors.append(caught.value)
    # One that is raised again would accumulate the tracebacks of all callers.
    assert errors[0] is not errors[1]


def test_without_a_champion_the_pipeline_to_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="no survival model yet: run pipeline ml_training_and_inference"):
        load_champion(tmp_path)


@pytest.mark.parametrize("wrong", [{}, [], {"feature_names": []}, {"xgboost": {}}, {"features": {"companions": 3}}])
def test_a_wrong_document_is_refused(pipeline: Pipeline, wrong: object) -> None:
    content = artifact.to_dict(pipeline) | wrong if isinstance(wrong, dict) and wrong else wrong
    with pytest.raises(UnusableVersionError):
        artifact.from_dict(content)


def test_the_model_of_mlflow_predicts(tmp_path: Path, pipeline: Pipeline, titanic: pd.DataFrame) -> None:
    path = tmp_path / "survival.json"
    path.write_text(json.dumps(artifact.to_dict(pipeline)))
    table = artifact._load_pyfunc(str(path)).predict(titanic)
    np.testing.assert_array_equal(table["probability"], pipeline.predict_proba(titanic)[:, 1])
    assert (table["survived"] == (table["probability"] >= 0.5)).all()


def test_predictions_do_not_import_mlflow() -> None:
    code = "import sys, workflows.ml_training_and_inference.inference; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
