import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workflows.common.errors import InvalidInputError
from workflows.survival import registry
from workflows.survival import train_and_promote as workflow
from workflows.survival.checks import check_data
from workflows.survival.evaluation import BASELINES, METRICS
from workflows.survival.train_and_promote import train_survival_model
from workflows.survival.training import Parameters

FAST = Parameters(n_estimators=5)
LIBRARIES = registry.library_versions()
Train = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def trained(titanic: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    folder = tmp_path_factory.mktemp("models")
    return train_survival_model(titanic, folder, repeats=1), folder


def test_summary_and_metadata(trained: tuple[pd.DataFrame, Path], titanic: pd.DataFrame) -> None:
    table, folder = trained
    version = registry.serving_version(folder)
    assert set(table["model_version"]) == {version.name}
    assert set(table["model_status"]) == {"serving"}
    assert set(table["passengers"]) == {891}
    assert set(table["split"]) == {"stratified", "grouped"}
    assert set(table["classifier"]) == {"model", *BASELINES}
    metadata = version.metadata
    assert metadata["data_sha256"] == registry.hash_data(titanic)
    assert metadata["code_sha256"] == registry.hash_code()
    assert metadata["parameters"] == asdict(Parameters())
    assert (metadata["rows"], metadata["survivors"]) == (891, 342)
    assert set(metadata["seconds"]) == {"training", "evaluation"}
    assert {"table", "calibration", "confusion"} <= set(metadata["metrics"])
    assert metadata["checks"] == [asdict(check) for check in check_data(titanic)]
    assert metadata["profile"]["rows"] == 891
    assert metadata["promotion"] == {
        "accepted": True,
        "reasons": [],
        "incumbent": None,
        "comparison": "no version served",
    }
    assert "git_commit" in metadata
    assert [entry.why for entry in registry.history(folder)] == ["promoted"]


def test_training_again_with_the_same_inputs_returns_the_same_version(
    trained: tuple[pd.DataFrame, Path], titanic: pd.DataFrame
) -> None:
    table, folder = trained
    before = (folder / "serving.json").read_bytes()
    again = train_survival_model(titanic.sample(frac=1, random_state=1).assign(company="x"), folder, repeats=1)
    pd.testing.assert_frame_equal(again, table)
    assert len(registry.version_names(folder)) == 1
    assert (folder / "serving.json").read_bytes() == before


def test_passengers_without_names_and_tickets_are_trained_on(titanic: pd.DataFrame, tmp_path: Path) -> None:
    # As in seaborn's file; every passenger is a group of their own.
    few = titanic.head(200).assign(_name=None, ticket=None)
    table = train_survival_model(few, tmp_path, FAST, repeats=1)
    assert set(table["split"]) == {"stratified", "grouped"}
    assert set(table["passengers"]) == {200}


def test_the_card_is_saved_and_returned_with_the_table(trained: tuple[pd.DataFrame, Path], tmp_path: Path) -> None:
    table, folder = trained
    version = table["model_version"].iloc[0]
    html = (folder / version / "card.html").read_text(encoding="utf-8")
    metadata = registry.read_metadata(folder, version)
    assert all(f"<code>{metadata[name]}</code>" in html for name in ("version", "fingerprint", "model_sha256"))
    # Example passengers are chosen by their held-out predictions.
    assert "Held-out prediction:" in html
    first, shown = workflow.with_card(table, folder)
    assert first is table
    assert f'srcdoc="{escape(html)}"' in shown.loc[0, "model_card"]
    (alone,) = workflow.with_card(table, tmp_path)
    assert alone is table


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
    # Rendering takes longer than fitting; the fixture `trained` has the real card.
    monkeypatch.setattr(workflow, "model_card", lambda *_: "card")
    return fake


@pytest.fixture
def train(titanic: pd.DataFrame, tmp_path: Path, fake_evaluation: FakeEvaluation) -> Train:
    """Train a small model on 200 passengers; another number of `trees` gives another version of the same data."""
    few = titanic.head(200)

    def call(df: pd.DataFrame = few, trees: int = 5, **options: Any) -> pd.DataFrame:
        return train_survival_model(df, tmp_path, Parameters(n_estimators=trees), **options)

    return call


def result(table: pd.DataFrame) -> tuple[str, str]:
    return table["model_version"].iloc[0], table["model_status"].iloc[0]


@pytest.mark.parametrize("change", ["parameters", "data", "code", "libraries", "damage"])
def test_a_change_of_any_input_makes_a_new_version(
    titanic: pd.DataFrame, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first, _ = result(train())
    small = titanic.head(200)
    if change == "data":
        small = small.assign(fare=small["fare"].where(small.index != 3, 1.0))
    if change == "code":
        monkeypatch.setattr(registry, "hash_code", lambda: "other")
    if change == "libraries":
        monkeypatch.setattr(registry, "library_versions", lambda: LIBRARIES | {"numpy": "0"})
    if change == "damage":
        (tmp_path / first / "model.joblib").write_bytes(b"")
    second, status = result(train(small, trees=6 if change == "parameters" else 5))
    assert status == "serving"
    assert registry.version_names(tmp_path) == [second, first]
    assert registry.serving_version(tmp_path).name == second


def test_the_order_of_rows_does_not_change_the_model(
    titanic: pd.DataFrame, tmp_path: Path, fake_evaluation: FakeEvaluation
) -> None:
    train_survival_model(titanic, tmp_path / "a", FAST)
    train_survival_model(titanic.sample(frac=1, random_state=1), tmp_path / "b", FAST)
    first, second = (
        registry.serving_version(tmp_path / folder).pipeline.predict_proba(titanic).tobytes() for folder in "ab"
    )
    assert first == second


class TestRejection:
    def test_a_worse_candidate_is_saved_and_logged_but_does_not_serve(
        self, train: Train, fake_evaluation: FakeEvaluation, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        serving, _ = result(train())
        fake_evaluation.brier = 0.13
        rejected, status = result(train(trees=6))
        assert (rejected != serving, status) == (True, "rejected")
        assert registry.serving_version(tmp_path).name == serving
        promotion = registry.load(tmp_path, rejected).metadata["promotion"]
        assert (promotion["accepted"], promotion["incumbent"]) == (False, serving)
        assert len(promotion["reasons"]) == 4
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert rejected in caplog.text
        assert promotion["reasons"][0] in caplog.text

    def test_a_rejected_version_is_not_trained_again(
        self, train: Train, fake_evaluation: FakeEvaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train()
        fake_evaluation.brier = 0.13
        first = train(trees=6)
        monkeypatch.setattr(workflow, "fit", lambda *_: pytest.fail("trained again"))
        before = (tmp_path / "serving.json").read_bytes()
        pd.testing.assert_frame_equal(train(trees=6), first)
        assert len(registry.version_names(tmp_path)) == 2
        assert (tmp_path / "serving.json").read_bytes() == before

    def test_a_model_worse_than_a_baseline_does_not_serve(
        self, train: Train, fake_evaluation: FakeEvaluation, tmp_path: Path
    ) -> None:
        fake_evaluation.brier = 0.17
        _, status = result(train())
        assert status == "rejected"
        assert next(registry.usable_versions(tmp_path), None) is None
        assert result(train())[1] == "rejected"

    def test_a_rejected_version_is_compared_again_with_the_present_serving_version(
        self, train: Train, fake_evaluation: FakeEvaluation, tmp_path: Path
    ) -> None:
        serving, _ = result(train())
        fake_evaluation.brier = 0.13
        rejected, _ = result(train(trees=6))
        # No other version is left, and it is better than the baselines.
        shutil.rmtree(tmp_path / serving)
        assert result(train(trees=6)) == (rejected, "serving")


def test_the_model_is_saved_even_if_its_card_cannot_be_rendered(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no font")

    monkeypatch.setattr(workflow, "model_card", fail)
    table = train()
    name, status = result(table)
    assert status == "serving"
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["metadata.json", "model.joblib"]
    assert len(workflow.with_card(table, tmp_path)) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"model version {name} has no card" in caplog.text
    assert "no font" in caplog.text


class TestRestored:
    def test_a_version_restored_under_another_name_can_be_replaced(self, train: Train, tmp_path: Path) -> None:
        first, _ = result(train())
        restored = f"20240101T000000000000Z-{first[-8:]}"
        (tmp_path / first).rename(tmp_path / restored)
        registry.promote(tmp_path, restored)
        assert result(train(trees=6))[1] == "serving"


class TestByHand:
    def test_a_version_that_was_rolled_back_is_not_promoted_by_the_next_run(self, train: Train, tmp_path: Path) -> None:
        first, _ = result(train())
        second, _ = result(train(trees=6))
        registry.roll_back(tmp_path)
        assert result(train(trees=6)) == (second, "served before")
        assert registry.serving_version(tmp_path).name == first

    def test_a_version_replaced_by_training_is_promoted_again_when_its_inputs_return(
        self, train: Train, tmp_path: Path
    ) -> None:
        first, _ = result(train())
        train(trees=6)
        assert result(train()) == (first, "serving")
        assert len(registry.version_names(tmp_path)) == 2

    def test_a_roll_back_during_training_is_respected(
        self, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, _ = result(train())
        train(trees=6)
        save = registry.save

        def save_while_somebody_rolls_back(*args: Any) -> str:
            registry.roll_back(tmp_path)
            return save(*args)

        monkeypatch.setattr(registry, "save", save_while_somebody_rolls_back)
        third, status = result(train(trees=7))
        assert status == "candidate"
        assert registry.serving_version(tmp_path).name == first
        assert "stays a candidate" in caplog.text
        # The next run compares it with the version that serves by then.
        assert result(train(trees=7)) == (third, "serving")


class TestCrash:
    @pytest.mark.parametrize("step", ["save", "promote_if_still_serving", "was_replaced_by_hand"])
    def test_after_a_killed_process_the_old_version_serves_and_the_next_run_completes(
        self, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        first, _ = result(train())

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(registry, step, killed)
            with pytest.raises(KeyboardInterrupt):
                train(trees=6)
        assert registry.serving_version(tmp_path).name == first
        kept = registry.version_names(tmp_path)
        second, status = result(train(trees=6))
        assert status == "serving"
        assert registry.serving_version(tmp_path).name == second
        # A version that was saved before the process was killed is not trained again.
        assert len(registry.version_names(tmp_path)) == 2
        assert step == "save" or second in kept

    def test_concurrent_trainings_make_one_version(self, titanic: pd.DataFrame, train: Train, tmp_path: Path) -> None:
        with ThreadPoolExecutor(3) as executor:
            results = [future.result() for future in [executor.submit(train) for _ in range(3)]]
        assert len({result(table) for table in results}) == 1
        assert len(registry.version_names(tmp_path)) == 1
        assert len(registry.history(tmp_path)) == 1


class TestChecks:
    def test_data_with_errors_are_refused(self, titanic: pd.DataFrame, tmp_path: Path) -> None:
        for wrong, names, detail in (
            (titanic.head(49), ["rows"], "at least 50 passengers, there are 49"),
            (titanic[titanic["survived"] == 0], ["outcomes", "tickets"], "5 passengers with survived = 1, there are 0"),
            (pd.concat([titanic, titanic]), ["unique key"], "passenger_id repeats"),
            (titanic.drop(columns="sex"), ["columns"], "sex is missing"),
        ):
            with pytest.raises(InvalidInputError, match=detail) as caught:
                train_survival_model(wrong, tmp_path)
            assert list(caught.value.fields) == names
        assert list(tmp_path.iterdir()) == []

    def test_every_failed_check_is_named_and_the_serving_version_stays(
        self, titanic: pd.DataFrame, train: Train, tmp_path: Path
    ) -> None:
        first, _ = result(train())
        changed = titanic.head(200).assign(fare=lambda df: df["fare"] * 5, pclass=1)
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(InvalidInputError, match="the serving version stays") as caught:
            train(changed)
        assert {"drift of fare", "drift of pclass"} == set(caught.value.fields)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        assert registry.serving_version(tmp_path).name == first

    @pytest.mark.parametrize("accept", [True, "true", "1"])
    def test_accepted_drift_is_a_warning_and_the_next_run_compares_with_the_new_data(
        self, titanic: pd.DataFrame, train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture, accept: Any
    ) -> None:
        train()
        changed = titanic.head(200).assign(pclass=1)
        second, status = result(train(changed, accept_drift=accept))
        assert status == "serving"
        kept = {check["name"]: check for check in registry.load(tmp_path, second).metadata["checks"]}
        assert kept["drift of pclass"]["passed"] is False
        assert kept["drift of pclass"]["severity"] == "warning"
        assert "drift of pclass" in caplog.text
        # The same data do not drift from themselves.
        assert result(train(changed)) == (second, "serving")

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
