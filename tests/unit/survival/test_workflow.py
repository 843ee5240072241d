from pathlib import Path

import pandas as pd
import pytest

from workflows.errors import InvalidInputError
from workflows.survival import registry, workflow
from workflows.survival.evaluation import BASELINES
from workflows.survival.training import Parameters
from workflows.survival.workflow import train_survival_model


@pytest.fixture(scope="module")
def trained(titanic: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    folder = tmp_path_factory.mktemp("models")
    return train_survival_model(titanic, folder, repeats=1), folder


def test_summary_and_metadata(trained: tuple[pd.DataFrame, Path], titanic: pd.DataFrame) -> None:
    table, folder = trained
    version = registry.serving_version(folder)
    assert set(table["model_version"]) == {version.name}
    assert set(table["passengers"]) == {891}
    assert set(table["split"]) == {"stratified", "grouped"}
    assert set(table["classifier"]) == {"model", *BASELINES}
    metadata = version.metadata
    assert metadata["data_sha256"] == registry.hash_data(titanic)
    assert metadata["code_sha256"] == registry.hash_code()
    assert metadata["parameters"]["max_depth"] == Parameters().max_depth
    assert (metadata["rows"], metadata["survivors"]) == (891, 342)
    assert set(metadata["seconds"]) == {"training", "evaluation"}
    assert set(metadata["metrics"]) == {"table", "calibration", "confusion", "roc", "calibration_summary"}


def test_the_same_again_keeps_the_version_and_reports_it(
    trained: tuple[pd.DataFrame, Path], titanic: pd.DataFrame
) -> None:
    table, folder = trained
    again = train_survival_model(titanic.sample(frac=1, random_state=1), folder, repeats=1)
    pd.testing.assert_frame_equal(again, table)
    assert len(registry.version_names(folder)) == 1


@pytest.mark.parametrize("change", ["parameters", "data", "damage"])
def test_anything_else_makes_a_new_version(
    titanic: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    # The evaluation is tested elsewhere; one fold's table is enough to save.
    small = titanic.head(200)
    monkeypatch.setattr(workflow, "evaluate", lambda *_, **__: fake_evaluation())
    train_survival_model(small, tmp_path)
    parameters = Parameters(n_estimators=20) if change == "parameters" else Parameters()
    if change == "data":
        small = small.assign(fare=small["fare"].where(small.index != 3, 1.0))
    if change == "damage":
        (tmp_path / registry.version_names(tmp_path)[0] / "model.joblib").write_bytes(b"")
    train_survival_model(small, tmp_path, parameters)
    assert len(registry.version_names(tmp_path)) == 2


def test_order_of_rows_does_not_change_the_model(
    titanic: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "evaluate", lambda *_, **__: fake_evaluation())
    train_survival_model(titanic, tmp_path / "a")
    train_survival_model(titanic.sample(frac=1, random_state=1), tmp_path / "b")
    first, second = (
        registry.serving_version(tmp_path / folder).pipeline.predict_proba(titanic).tobytes() for folder in "ab"
    )
    assert first == second


def fake_evaluation() -> workflow.Evaluation:
    scores = {"accuracy": 0.8, "roc_auc": 0.8, "brier": 0.1, "log_loss": 0.4}
    return workflow.Evaluation(
        scores=pd.DataFrame([{"split": "stratified", "classifier": "model", "repeat": 0, "fold": 0, **scores}]),
        predictions=pd.DataFrame(
            {
                "split": "stratified",
                "repeat": 0,
                "row": range(20),
                "survived": [0, 1] * 10,
                "probability": [0.3, 0.7] * 10,
            }
        ),
    )


def test_data_that_no_model_can_be_judged_on(titanic: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="at least 50 passengers, there are 49"):
        train_survival_model(titanic.head(49), tmp_path)
    with pytest.raises(InvalidInputError, match="5 passengers with survived = 1, there are 0"):
        train_survival_model(titanic[titanic["survived"] == 0], tmp_path)
    with pytest.raises(InvalidInputError, match="passenger_id repeats"):
        train_survival_model(pd.concat([titanic, titanic]), tmp_path)
    assert list(tmp_path.iterdir()) == []
