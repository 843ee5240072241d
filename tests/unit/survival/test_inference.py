import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from workflows.errors import InvalidInputError, NotReadyError
from workflows.passengers import ATTRIBUTE_NAMES, parse_attributes
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
    # A name without a title is the one thing that tells the model nothing.
    assert answer["unseen"] == ["_name"]
    assert answer["model_version"] == name


def test_same_as_the_pipeline_for_every_passenger_and_the_contributions_add_up(
    tmp_path: Path, save: Save, pipeline: Pipeline, titanic: pd.DataFrame
) -> None:
    save()
    expected = pipeline.predict_proba(titanic)[:, 1]
    for position, record in enumerate(titanic.to_dict("records")):
        strings: dict[str, object] = {name: str(record[name]) for name in ATTRIBUTE_NAMES if pd.notna(record[name])}
        answer = predict_passenger(strings, tmp_path)
        assert answer["probability"] == pytest.approx(float(expected[position]), abs=1e-6)
        log_odds = answer["base_value"] + sum(answer["contributions"].values())
        assert 1 / (1 + math.exp(-log_odds)) == answer["probability"]
        assert answer["survived"] == int(expected[position] >= 0.5)


@pytest.mark.parametrize("missing", [*ATTRIBUTE_NAMES, ATTRIBUTE_NAMES])
@pytest.mark.parametrize("how", ["left out", "", None, "unknown"])
def test_missing_attributes(
    tmp_path: Path, save: Save, kim: dict[str, object], missing: str | tuple[str, ...], how: str | None
) -> None:
    save()
    names = [missing] if isinstance(missing, str) else list(missing)
    variables = {name: value for name, value in kim.items() if name not in names}
    if how != "left out":
        variables |= dict.fromkeys(names, how)
    answer = predict_passenger(variables, tmp_path)
    assert answer["missing"] == names
    assert all(answer["passenger"][name] is None for name in names)
    assert 0 < answer["probability"] < 1
    assert not set(answer["unseen"]) & set(names)


def test_other_variables_change_nothing(tmp_path: Path, save: Save, kim: dict[str, object]) -> None:
    save()
    more = {**kim, "context": object(), "execution_partition": "1/2", "passenger_id": -1, "survived": "x", "name": 5}
    assert predict_passenger(more, tmp_path) == predict_passenger(kim, tmp_path)


def test_numbers_are_as_good_as_text(tmp_path: Path, save: Save, kim: dict[str, object]) -> None:
    save()
    numbers = {**kim, "pclass": 3, "age": 21.0, "sibsp": 0, "parch": 0.0, "ticket": 315037, "fare": 100}
    assert predict_passenger(numbers, tmp_path) == predict_passenger(kim, tmp_path)


def test_every_wrong_variable_is_named(tmp_path: Path, save: Save, kim: dict[str, object]) -> None:
    save()
    wrong = {"age": "abc", "pclass": "9", "fare": "-1", "sex": "x", "embarked": "Z", "sibsp": "0.5"}
    with pytest.raises(InvalidInputError) as caught:
        predict_passenger({**kim, **wrong}, tmp_path)
    assert set(caught.value.fields) == set(wrong)


def test_no_model_yet(tmp_path: Path, kim: dict[str, object]) -> None:
    with pytest.raises(NotReadyError, match="ml_training_and_inference"):
        predict_passenger(kim, tmp_path)


def test_wrong_input_is_named_even_where_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        predict_passenger({"age": "abc"}, tmp_path)


def test_version_is_read_once_until_a_newer_one_appears(
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


def test_a_damaged_newer_version_leaves_the_last_good_one_serving(
    tmp_path: Path, save: Save, kim: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = save(), save()
    (tmp_path / bad / "metadata.json").unlink()
    assert predict_passenger(kim, tmp_path)["model_version"] == good
    # Nor is the damaged one looked at again at each call.
    monkeypatch.setattr(inference, "serving_version", lambda _: pytest.fail("read again"))
    assert predict_passenger(kim, tmp_path)["model_version"] == good


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


def test_attributes_parsed_before_give_the_same_answer(tmp_path: Path, save: Save, kim: dict[str, object]) -> None:
    save()
    version = inference.serving_version(tmp_path)
    assert inference.predict_with(version, parse_attributes(kim)) == predict_passenger(kim, tmp_path)


def test_a_batch_gives_the_same_numbers_as_one_by_one(tmp_path: Path, save: Save, titanic: pd.DataFrame) -> None:
    save()
    version = inference.serving_version(tmp_path)
    some = titanic.sample(60, random_state=1)
    table = inference.predict_batch(version, some)
    assert list(table) == ["survived", "probability", "base_value", *FEATURE_NAMES]
    assert list(table.index) == list(some.index)
    for (_, record), batched in zip(some.iterrows(), table.to_dict("records"), strict=True):
        alone = inference.predict_with(version, parse_attributes(record.to_dict()))
        assert batched == {
            **{name: alone[name] for name in ("survived", "probability", "base_value")},
            **alone["contributions"],
        }
    pd.testing.assert_frame_equal(inference.predict_batch(version, some, workers=7), table)


def test_a_batch_may_be_small_or_empty(tmp_path: Path, save: Save, titanic: pd.DataFrame) -> None:
    save()
    version = inference.serving_version(tmp_path)
    assert len(inference.predict_batch(version, titanic.head(1))) == 1
    empty = inference.predict_batch(version, titanic.head(0))
    assert list(empty) == ["survived", "probability", "base_value", *FEATURE_NAMES]
    assert empty.empty
