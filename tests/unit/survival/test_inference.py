import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.sql_python.passengers import ATTRIBUTE_NAMES, parse_attributes
from workflows.survival import inference, registry
from workflows.survival.features import FEATURE_NAMES
from workflows.survival.inference import predict_passenger
from workflows.survival.training import Parameters, fit

Save = Callable[[], str]


def test_the_documented_passenger(tmp_path: Path, save: Save, kim: dict[str, object]) -> None:
    name = save()
    answer = predict_passenger(kim, tmp_path)
    assert json.loads(json.dumps(answer)) == answer
    assert set(answer) == {
        *("survived", "probability", "passenger", "contributions"),
        *("base_value", "missing", "unseen", "model_version"),
    }
    assert answer["passenger"] == {
        "pclass": 3,
        "_name": "Kim",
        "sex": "female",
        "age": 21.0,
        "sibsp": 0,
        "parch": 0,
        "ticket": "315037",
        "fare": 100.0,
        "cabin": "D21",
        "embarked": "S",
    }
    assert answer["survived"] == 1
    assert list(answer["contributions"]) == list(FEATURE_NAMES)
    assert answer["missing"] == []
    # The name has no title; all other values occur in the training data.
    assert answer["unseen"] == ["_name"]
    assert answer["model_version"] == name


def test_every_wrong_variable_is_named(tmp_path: Path, save: Save, kim: dict[str, object]) -> None:
    save()
    wrong = {"age": "abc", "pclass": "9", "fare": "-1", "sex": "x", "embarked": "Z", "sibsp": "0.5"}
    with pytest.raises(InvalidInputError) as caught:
        predict_passenger({**kim, **wrong}, tmp_path)
    assert set(caught.value.fields) == set(wrong)


def test_no_model_yet(tmp_path: Path, kim: dict[str, object]) -> None:
    with pytest.raises(NotReadyError, match="ml_training_and_inference"):
        predict_passenger(kim, tmp_path)


def test_wrong_input_is_reported_even_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        predict_passenger({"age": "abc"}, tmp_path)


def test_a_version_is_loaded_once_until_a_newer_one_serves(
    tmp_path: Path, save: Save, kim: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []
    original = inference.serving_version
    monkeypatch.setattr(inference, "serving_version", lambda path: loads.append(path) or original(path))
    first = save()
    assert [predict_passenger(kim, tmp_path)["model_version"] for _ in range(3)] == [first] * 3
    assert len(loads) == 1
    second = save()
    assert [predict_passenger(kim, tmp_path)["model_version"] for _ in range(3)] == [second] * 3
    assert len(loads) == 2


def test_if_the_newest_version_is_damaged_the_last_usable_one_serves(
    tmp_path: Path, save: Save, kim: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = save(), save()
    (tmp_path / bad / "metadata.json").unlink()
    assert predict_passenger(kim, tmp_path)["model_version"] == good
    # The damaged version is not loaded again at each call.
    monkeypatch.setattr(inference, "serving_version", lambda _: pytest.fail("loaded again"))
    assert predict_passenger(kim, tmp_path)["model_version"] == good


@pytest.mark.parametrize("file", ["model.joblib", "metadata.json"])
def test_a_repaired_version_serves_from_the_next_call_on(
    tmp_path: Path, save: Save, kim: dict[str, object], file: str
) -> None:
    good, bad = save(), save()
    path = tmp_path / bad / file
    content = path.read_bytes()
    path.write_bytes(content[:100])
    assert predict_passenger(kim, tmp_path)["model_version"] == good
    path.write_bytes(content)
    assert predict_passenger(kim, tmp_path)["model_version"] == bad


def test_unusable_versions_are_loaded_once(
    tmp_path: Path,
    save: Save,
    kim: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    loads: list[Path] = []
    original = inference.serving_version
    monkeypatch.setattr(inference, "serving_version", lambda path: loads.append(path) or original(path))
    for _ in range(2):
        (tmp_path / save() / "model.joblib").write_bytes(b"")
    errors = []
    for _ in range(3):
        with pytest.raises(NotReadyError, match="none of the 2 versions can serve") as caught:
            predict_passenger(kim, tmp_path)
        errors.append(caught.value)
    assert (len(loads), len(caplog.records)) == (1, 2)
    assert len({id(error) for error in errors}) == 3
    name = save()
    assert predict_passenger(kim, tmp_path)["model_version"] == name


def test_a_file_with_the_name_of_a_version_is_ignored(tmp_path: Path, save: Save, kim: dict[str, object]) -> None:
    name = save()
    (tmp_path / "20000101T000000000000Z-abababab").write_text("")
    assert predict_passenger(kim, tmp_path)["model_version"] == name


def test_two_folders_do_not_share_a_model(
    tmp_path: Path, pipeline: Pipeline, titanic: pd.DataFrame, kim: dict[str, object]
) -> None:
    other = fit(titanic[list(ATTRIBUTE_NAMES)], titanic["survived"].to_numpy(), Parameters(n_estimators=5))
    name = registry.save(tmp_path / "a", pipeline, {}, "ab" * 32)
    (tmp_path / "b" / registry.save(tmp_path / "b", other, {}, "ab" * 32)).rename(tmp_path / "b" / name)
    for folder in ("a", "b"):
        os.utime(tmp_path / folder / name, (0, 0))
    answers = [predict_passenger(kim, tmp_path / folder)["probability"] for folder in ("a", "b", "a")]
    assert answers[0] == answers[2] != answers[1]


def test_parsed_attributes_give_the_same_prediction(tmp_path: Path, save: Save, kim: dict[str, object]) -> None:
    save()
    version = inference.serving_version(tmp_path)
    assert inference.predict_with(version, parse_attributes(kim)) == predict_passenger(kim, tmp_path)


def test_a_batch_may_be_small_or_empty(tmp_path: Path, save: Save, titanic: pd.DataFrame) -> None:
    save()
    version = inference.serving_version(tmp_path)
    assert len(inference.predict_batch(version, titanic.head(1))) == 1
    empty = inference.predict_batch(version, titanic.head(0))
    assert list(empty) == ["survived", "probability", "base_value", *FEATURE_NAMES]
    assert empty.empty
