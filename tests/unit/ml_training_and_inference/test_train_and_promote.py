import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workflows.common.errors import InvalidInputError
from workflows.ml_training_and_inference import registry
from workflows.ml_training_and_inference import train_and_promote as workflow
from workflows.ml_training_and_inference.card import CARD_FILE
from workflows.ml_training_and_inference.champion import load_champion
from workflows.ml_training_and_inference.checks import check_data
from workflows.ml_training_and_inference.documentation import document_version
from workflows.ml_training_and_inference.evaluation import BASELINES, METRICS
from workflows.ml_training_and_inference.registry import DATABASE_FILE, Registry
from workflows.ml_training_and_inference.train_and_promote import train_survival_model
from workflows.ml_training_and_inference.training import Parameters

FAST = Parameters(n_estimators=5)
LIBRARIES = workflow.library_versions()
Train = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def trained(
    titanic: pd.DataFrame, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pd.DataFrame, Registry]:
    folder = tmp_path_factory.mktemp("models")
    (folder / DATABASE_FILE).write_bytes(empty_store.read_bytes())
    return train_survival_model(titanic, folder, repeats=1, source="passengers.csv"), Registry(folder)


def test_what_is_logged_of_a_training(trained: tuple[pd.DataFrame, Registry], titanic: pd.DataFrame) -> None:
    table, models = trained
    version = models.champion()
    assert version is not None
    assert set(table["model_version"]) == {str(version.version)} == {load_champion(models.models_dir).name}
    assert set(table["model_status"]) == {"champion"}
    assert set(table["passengers"]) == {891}
    assert set(table["split"]) == {"stratified", "grouped"}
    assert set(table["classifier"]) == {"model", *BASELINES}
    record = models.record(version)
    assert record["checks"] == [asdict(check) for check in check_data(titanic)]
    assert record["promotion"] == {
        "accepted": True,
        "reasons": [],
        "incumbent": None,
        "comparison": "no version served",
    }
    run = models.client.get_run(registry.run_of(version))
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        name: str(value)
        for name, value in {
            **asdict(Parameters()),
            **{"folds": 5, "repeats": 1, "rows": 891, "survivors": 342},
        }.items()
    }
    (own,) = [row for row in record["metrics"] if (row["split"], row["classifier"]) == ("grouped", "model")]
    assert run.data.metrics["grouped/brier_mean"] == pytest.approx(own["brier"])
    folds = models.client.get_metric_history(run.info.run_id, "grouped/brier")
    assert [fold.step for fold in folds] == [0, 1, 2, 3, 4]
    assert np.mean([fold.value for fold in folds]) == pytest.approx(own["brier"])
    assert run.data.tags["data_sha256"] == workflow.hash_data(titanic)
    assert run.data.tags["code_sha256"] == workflow.hash_code()
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.digest == workflow.hash_data(titanic)[:32]
    assert '"num_rows": 891' in data.dataset.profile
    assert "passengers.csv" in data.dataset.source


def test_the_card_and_the_baselines_are_added_once(
    trained: tuple[pd.DataFrame, Registry], titanic: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, models = trained
    number = str(table["model_version"].iloc[0])
    shown = document_version(titanic, number, models.models_dir)
    version = models.get(number)
    html = models.read(version, CARD_FILE)
    assert f"version {number}" in html
    assert "Survival model" in shown.loc[0, "model_card"]
    assert models.children(registry.run_of(version)) == set(BASELINES)
    assert "<svg" in models.read(version, "plots/calibration.svg")
    monkeypatch.setattr(
        "workflows.ml_training_and_inference.documentation.model_card", lambda *_: pytest.fail("rendered again")
    )
    pd.testing.assert_frame_equal(document_version(titanic, number, models.models_dir), shown)


def test_a_killed_documentation_is_completed(
    trained: tuple[pd.DataFrame, Registry], titanic: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, models = trained
    faster = train_survival_model(titanic.head(300), models.models_dir, FAST, repeats=1)
    number = str(faster["model_version"].iloc[0])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("workflows.ml_training_and_inference.documentation.model_card", killed)
        with pytest.raises(KeyboardInterrupt):
            document_version(titanic.head(300), number, models.models_dir)
    document_version(titanic.head(300), number, models.models_dir)
    run_id = registry.run_of(models.get(number))
    children = models.client.search_runs([models.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    assert sorted(run.info.run_name for run in children) == sorted(BASELINES)


def test_training_again_with_the_same_inputs_returns_the_same_version(
    trained: tuple[pd.DataFrame, Registry], titanic: pd.DataFrame
) -> None:
    table, models = trained
    before = len(models.versions())
    again = train_survival_model(
        titanic.sample(frac=1, random_state=1).assign(company="x"), models.models_dir, repeats=1
    )
    pd.testing.assert_frame_equal(again, table)
    assert len(models.versions()) == before


def test_passengers_without_names_and_tickets_are_trained_on(titanic: pd.DataFrame, models_dir: Path) -> None:
    # As in seaborn's file; every passenger is a group of their own.
    few = titanic.head(200).assign(_name=None, ticket=None)
    table = train_survival_model(few, models_dir, FAST, repeats=1)
    assert set(table["split"]) == {"stratified", "grouped"}
    assert set(table["passengers"]) == {200}


def test_a_folder_of_an_older_release_is_said_once(
    titanic: pd.DataFrame, train: Train, models_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (models_dir / "serving.json").write_text("{}")
    with caplog.at_level(logging.INFO):
        train()
        train(trees=6)
    assert caplog.text.count("are of a release without MLflow") == 1


class FakeEvaluation:
    """Replaces `evaluate`, which is tested elsewhere, by fixed scores."""

    brier = 0.12

    def __call__(self, *_: object, folds: int, repeats: int, **__: object) -> workflow.Evaluation:
        brier = {"model": self.brier, "sex only": 0.16}
        scores = [
            {"split": split, "classifier": name, "repeat": repeat, "fold": fold}
            | {metric: 0.8 for metric in METRICS}
            | {"roc_auc": 1 - brier[name], "brier": brier[name]}
            for split in ("stratified", "grouped")
            for repeat in range(repeats)
            for fold in range(folds)
            for name in brier
        ]
        predictions = [
            {
                "split": split,
                "repeat": 0,
                "row": row,
                "survived": int(row % 3 == 0),
                "probability": 0.3 + 0.4 * (row % 2),
            }
            for split in ("stratified", "grouped")
            for row in range(20)
        ]
        return workflow.Evaluation(scores=pd.DataFrame(scores), predictions=pd.DataFrame(predictions))


@pytest.fixture
def fake_evaluation(monkeypatch: pytest.MonkeyPatch) -> FakeEvaluation:
    fake = FakeEvaluation()
    monkeypatch.setattr(workflow, "evaluate", fake)
    return fake


@pytest.fixture
def train(titanic: pd.DataFrame, models_dir: Path, fake_evaluation: FakeEvaluation) -> Train:
    """Train a small model on 200 passengers; another number of `trees` gives another version of the same data."""
    few = titanic.head(200)

    def call(df: pd.DataFrame = few, trees: int = 5, **options: Any) -> pd.DataFrame:
        return train_survival_model(df, models_dir, Parameters(n_estimators=trees), **options)

    return call


def result(table: pd.DataFrame) -> tuple[str, str]:
    return table["model_version"].iloc[0], table["model_status"].iloc[0]


@pytest.mark.parametrize("change", ["parameters", "data", "code", "libraries", "damage"])
def test_a_change_of_any_input_makes_a_new_version(
    titanic: pd.DataFrame, train: Train, models_dir: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first, _ = result(train())
    small = titanic.head(200)
    if change == "data":
        small = small.assign(fare=small["fare"].where(small.index != 3, 1.0))
    if change == "code":
        monkeypatch.setattr(workflow, "hash_code", lambda: "other")
    if change == "libraries":
        monkeypatch.setattr(workflow, "library_versions", lambda: LIBRARIES | {"numpy": "0"})
    if change == "damage":
        next(models_dir.glob("artifacts/*/artifacts/model/survival.json")).write_text("")
    second, status = result(train(small, trees=6 if change == "parameters" else 5))
    assert (status, second != first) == ("champion", True)
    assert len(Registry(models_dir).versions()) == 2
    assert load_champion(models_dir).name == second


def test_the_order_of_rows_does_not_change_the_model(titanic: pd.DataFrame, train: Train, models_dir: Path) -> None:
    train(titanic)
    first = load_champion(models_dir).pipeline.predict_proba(titanic).tobytes()
    assert result(train(titanic.sample(frac=1, random_state=1)))[0] == "1"
    assert first == load_champion(models_dir).pipeline.predict_proba(titanic).tobytes()


class TestRejection:
    def test_a_worse_candidate_is_kept_and_logged_but_does_not_serve(
        self, train: Train, fake_evaluation: FakeEvaluation, models_dir: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        serving, _ = result(train())
        fake_evaluation.brier = 0.13
        rejected, status = result(train(trees=6))
        assert (rejected != serving, status) == (True, "rejected")
        assert load_champion(models_dir).name == serving
        models = Registry(models_dir)
        promotion = models.record(models.get(rejected))["promotion"]
        assert (promotion["accepted"], promotion["incumbent"]) == (False, serving)
        assert len(promotion["reasons"]) == 4
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert promotion["reasons"][0] in caplog.text

    def test_a_rejected_version_is_not_trained_again(
        self, train: Train, fake_evaluation: FakeEvaluation, models_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train()
        fake_evaluation.brier = 0.13
        first = train(trees=6)
        monkeypatch.setattr(workflow, "fit", lambda *_: pytest.fail("trained again"))
        pd.testing.assert_frame_equal(train(trees=6), first)
        assert len(Registry(models_dir).versions()) == 2

    def test_a_model_worse_than_a_baseline_does_not_serve(
        self, train: Train, fake_evaluation: FakeEvaluation, models_dir: Path
    ) -> None:
        fake_evaluation.brier = 0.17
        assert [result(train())[1] for _ in range(2)] == ["rejected", "rejected"]
        assert Registry(models_dir).champion() is None


class TestByHand:
    def test_a_version_that_was_rolled_back_is_not_promoted_by_the_next_run(
        self, train: Train, models_dir: Path
    ) -> None:
        first, _ = result(train())
        second, _ = result(train(trees=6))
        Registry(models_dir).roll_back()
        assert result(train(trees=6)) == (second, "served before")
        assert load_champion(models_dir).name == first

    def test_a_version_replaced_by_training_is_promoted_again_when_its_inputs_return(
        self, train: Train, models_dir: Path
    ) -> None:
        first, _ = result(train())
        train(trees=6)
        assert result(train()) == (first, "champion")
        assert len(Registry(models_dir).versions()) == 2

    def test_a_roll_back_during_training_is_respected(
        self, train: Train, models_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, _ = result(train())
        train(trees=6)
        add = Registry.add_version

        def add_while_somebody_rolls_back(models: Registry, *args: Any) -> str:
            models.roll_back()
            return add(models, *args)

        monkeypatch.setattr(Registry, "add_version", add_while_somebody_rolls_back)
        third, status = result(train(trees=7))
        assert status == "challenger"
        assert load_champion(models_dir).name == first
        assert "stays the challenger" in caplog.text
        # The next run compares it with the version that serves by then.
        assert result(train(trees=7)) == (third, "champion")


class TestCrash:
    @pytest.mark.parametrize("step", ["log_texts", "add_version", "promote", "refresh"])
    def test_after_a_killed_process_the_old_version_serves_and_the_next_run_completes(
        self, train: Train, models_dir: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        first, _ = result(train())

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Registry, step, killed)
            with pytest.raises(KeyboardInterrupt):
                train(trees=6)
        assert load_champion(models_dir).name == first
        second, status = result(train(trees=6))
        assert status == "champion"
        assert load_champion(models_dir).name == second
        # A version that was registered before the process was killed is not trained again.
        assert len(Registry(models_dir).versions()) == 2

    def test_concurrent_trainings_make_one_version(self, train: Train, models_dir: Path) -> None:
        with ThreadPoolExecutor(3) as executor:
            results = [future.result() for future in [executor.submit(train) for _ in range(3)]]
        assert len({result(table) for table in results}) == 1
        assert len(Registry(models_dir).versions()) == 1


class TestChecks:
    def test_data_with_errors_are_refused(self, titanic: pd.DataFrame, models_dir: Path) -> None:
        for wrong, names, detail in (
            (titanic.head(49), ["rows"], "at least 50 passengers, there are 49"),
            (titanic[titanic["survived"] == 0], ["outcomes", "tickets"], "5 passengers with survived = 1, there are 0"),
            (pd.concat([titanic, titanic]), ["unique key"], "passenger_id repeats"),
            (titanic.drop(columns="sex"), ["columns"], "sex is missing"),
        ):
            with pytest.raises(InvalidInputError, match=detail) as caught:
                train_survival_model(wrong, models_dir)
            assert list(caught.value.fields) == names
        assert Registry(models_dir).versions() == []

    def test_every_failed_check_is_named_and_the_champion_stays(
        self, titanic: pd.DataFrame, train: Train, models_dir: Path
    ) -> None:
        first, _ = result(train())
        changed = titanic.head(200).assign(fare=lambda df: df["fare"] * 5, pclass=1)
        with pytest.raises(InvalidInputError, match="the champion stays") as caught:
            train(changed)
        assert {"drift of fare", "drift of pclass"} == set(caught.value.fields)
        assert len(Registry(models_dir).versions()) == 1
        assert load_champion(models_dir).name == first

    @pytest.mark.parametrize("accept", [True, "true", "1"])
    def test_accepted_drift_is_a_warning_and_the_next_run_compares_with_the_new_data(
        self, titanic: pd.DataFrame, train: Train, models_dir: Path, caplog: pytest.LogCaptureFixture, accept: Any
    ) -> None:
        train()
        changed = titanic.head(200).assign(pclass=1)
        second, status = result(train(changed, accept_drift=accept))
        assert status == "champion"
        kept = {
            check["name"]: check for check in Registry(models_dir).record(Registry(models_dir).get(second))["checks"]
        }
        assert kept["drift of pclass"]["passed"] is False
        assert kept["drift of pclass"]["severity"] == "warning"
        assert "drift of pclass" in caplog.text
        # The same data do not drift from themselves.
        assert result(train(changed)) == (second, "champion")

    @pytest.mark.parametrize("refuse", [False, "false", "0"])
    def test_accept_drift_given_as_text_can_be_false(self, titanic: pd.DataFrame, train: Train, refuse: Any) -> None:
        train()
        with pytest.raises(InvalidInputError, match="drift of pclass"):
            train(titanic.head(200).assign(pclass=1), accept_drift=refuse)

    def test_a_wrong_variable_is_named(self, train: Train) -> None:
        with pytest.raises(InvalidInputError) as caught:
            train(accept_drift="perhaps")
        assert list(caught.value.fields) == ["accept_drift"]

    def test_checks_are_counted(self, train: Train, titanic: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        train(titanic.head(200).assign(age=np.nan))
        assert "training data: 16 checks, 0 errors, 1 warnings" in caplog.text
        assert "missing age: 100.0% missing" in caplog.text
