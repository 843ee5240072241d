import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Metric
from sklearn.pipeline import Pipeline

from mage_server.champion_watch import ChampionWatch
from workflows.common.errors import NotReadyError, ServiceError
from workflows.common.settings import Settings
from workflows.ml_training_and_inference import registry, training_log
from workflows.ml_training_and_inference.artifact import ARTIFACT_FILE, UnusableVersionError
from workflows.ml_training_and_inference.champion import CHAMPION_FILE, kept_champion, load_champion
from workflows.ml_training_and_inference.registry import DATABASE_FILE, Registry, was_replaced_by_hand
from workflows.passengers.contract import ATTRIBUTE_NAMES, ATTRIBUTES

Add = Callable[..., str]


@pytest.fixture
def models(models_dir: Path) -> Registry:
    return Registry(models_dir)


@pytest.fixture
def example(titanic: pd.DataFrame) -> pd.DataFrame:
    numbers = [column.name for column in ATTRIBUTES if column.kind != "text"]
    return titanic[list(ATTRIBUTE_NAMES)].astype(dict.fromkeys(numbers, float)).head()


@pytest.fixture
def add(models: Registry, pipeline: Pipeline, example: pd.DataFrame) -> Add:
    """Add a version with the fitted pipeline, and return its number."""

    def call(fingerprint: str = "f", rejected: tuple[str, ...] = ()) -> str:
        with models.run("training") as run_id:
            models.log_texts(run_id, training_log.mlflow_model(pipeline, example, {"xgboost": "3.2.0"}))
            return models.add_version(run_id, fingerprint, rejected)

    return call


def damage(models: Registry, number: str) -> None:
    version = models.get(number)
    folder = models.models_dir / "artifacts" / str(version.run_id) / "artifacts"
    (folder / registry.MODEL_FOLDER / ARTIFACT_FILE).write_text("{")


def test_a_promoted_version_is_kept_on_this_machine(models: Registry, add: Add) -> None:
    first = add()
    assert models.statuses() == {first: "challenger"}
    assert models.champion() is None
    assert models.promote(first)
    assert models.statuses() == {first: "champion"}
    assert load_champion(models.models_dir).name == first
    second = add()
    assert models.statuses() == {second: "challenger", first: "champion"}
    models.promote(second)
    assert models.statuses() == {second: "champion", first: "served before"}
    assert load_champion(models.models_dir).name == second


def test_mlflow_loads_the_model_with_signature_and_example(
    models: Registry, add: Add, titanic: pd.DataFrame, pipeline: Pipeline, example: pd.DataFrame
) -> None:
    models.promote(add())
    version = models.champion()
    assert version is not None
    path = models.client.download_artifacts(str(version.run_id), registry.MODEL_FOLDER)
    assert {file.suffix for file in Path(path).iterdir()} == {"", ".json", ".txt"}, "no pickle"
    loaded = mlflow.pyfunc.load_model(path)
    assert [column.name for column in loaded.metadata.signature.inputs] == list(ATTRIBUTE_NAMES)
    given = loaded.input_example
    pd.testing.assert_frame_equal(given.fillna(""), example.fillna(""), check_dtype=False)
    expected = pipeline.predict_proba(example)[:, 1]
    assert loaded.predict(example)["probability"].to_list() == expected.tolist()


def test_rolling_back_goes_one_version_further_each_time(models: Registry, add: Add) -> None:
    numbers = [add() for _ in range(3)]
    for number in numbers:
        models.promote(number)
    assert models.roll_back() == (numbers[2], numbers[1])
    assert models.roll_back() == (numbers[1], numbers[0])
    assert load_champion(models.models_dir).name == numbers[0]
    with pytest.raises(NotReadyError, match="no usable version that served before"):
        models.roll_back()
    # One that is promoted again can be rolled back again.
    models.promote(numbers[2])
    assert models.roll_back() == (numbers[2], numbers[0])


def test_a_damaged_version_is_not_promoted_found_or_rolled_back_to(
    models: Registry, add: Add, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = [add("same") for _ in range(3)]
    for number in numbers:
        models.promote(number)
    damage(models, numbers[1])
    with pytest.raises(UnusableVersionError, match="damaged"):
        models.promote(numbers[1])
    assert load_champion(models.models_dir).name == numbers[2]
    damage(models, numbers[2])
    found = models.find("same")
    assert found is not None
    assert str(found.version) == numbers[0]
    assert models.find("other") is None
    assert models.roll_back() == (numbers[2], numbers[0])
    assert f"model version {numbers[1]} is skipped: it is damaged" in caplog.text


class TestWhoReplacedTheChampion:
    def test_training(self, models: Registry, add: Add) -> None:
        first, second = add(), add()
        models.promote(first, None, by_training=True)
        assert models.promote(second, first, by_training=True)
        assert not was_replaced_by_hand(models.get(first))

    def test_a_person_by_promotion_rollback_or_in_mlflow(self, models: Registry, add: Add) -> None:
        first, second = add(), add()

        def is_by_hand(number: str) -> bool:
            return was_replaced_by_hand(models.get(number))

        models.promote(first)
        models.promote(second)
        assert is_by_hand(first)
        models.roll_back()
        assert (is_by_hand(first), is_by_hand(second)) == (False, True)
        models.promote(second, first, by_training=True)
        models.client.set_registered_model_alias(registry.NAME, registry.CHAMPION, first)
        assert (is_by_hand(first), is_by_hand(second)) == (False, True)

    def test_a_champion_of_somebody_else_is_not_replaced_by_training(self, models: Registry, add: Add) -> None:
        first, second, third = add(), add(), add()
        models.promote(first)
        models.promote(second)
        assert not models.promote(third, first, by_training=True)
        assert load_champion(models.models_dir).name == second


class TestRuns:
    def test_failed_and_killed_runs_are_marked(self, models: Registry) -> None:
        with pytest.raises(ValueError, match="no"), models.run("training"):
            raise ValueError("no")
        killed = models.client.create_run(models.experiment_id, tags={"machine": registry.platform.node()}).info
        other = models.client.create_run(models.experiment_id, tags={"machine": "another"}).info
        with models.training_lock():
            pass
        found = {run.info.run_id: run.info.status for run in models.client.search_runs([models.experiment_id])}
        assert found.pop(killed.run_id) == "KILLED"
        assert found.pop(other.run_id) == "RUNNING"
        assert list(found.values()) == ["FAILED"]

    def test_more_metrics_than_mlflow_takes_at_once(self, models: Registry) -> None:
        with models.run("training") as run_id:
            models.log(run_id, {"a": 1}, [Metric("m", step, 0, step) for step in range(2500)], {"t": "x"})
        assert len(models.client.get_metric_history(run_id, "m")) == 2500
        run = models.client.get_run(run_id)
        assert (run.data.params["a"], run.data.tags["t"]) == ("1", "x")

    def test_another_process_is_waited_for(self, models: Registry) -> None:
        with models.lock("x"), pytest.raises(NotReadyError, match="another process has held"), models.lock("x", 0.05):
            pass


class TestStoreIsDown:
    @pytest.fixture
    def watch(self, models_dir: Path) -> ChampionWatch:
        watch = ChampionWatch(Settings(state_dir=models_dir.parent))
        # The fixture's folder has another name than that of a state folder.
        watch._models = Registry(models_dir)
        return watch

    def test_what_is_damaged_and_what_to_do_is_said(self, models: Registry) -> None:
        (models.models_dir / DATABASE_FILE).write_text("not a database" * 100)
        with pytest.raises(ServiceError, match="restore it from a copy, or move it away"):
            models.champion()

    def test_a_server_that_is_down_is_named_without_its_password(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(ServiceError, match="check MLFLOW_TRACKING_URI") as caught:
            Registry(tmp_path, "http://user:hunter2@127.0.0.1:9").champion()
        assert "hunter2" not in str(caught.value)

    def test_a_promotion_in_mlflow_is_noticed(self, models: Registry, add: Add, watch: ChampionWatch) -> None:
        first, second = add(), add()
        models.promote(first)
        watch.look()
        models.client.set_registered_model_alias(registry.NAME, registry.CHAMPION, second)
        watch.look()
        assert load_champion(models.models_dir).name == second

    def test_nothing_is_asked_while_nothing_changes(
        self, models: Registry, add: Add, watch: ChampionWatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        models.promote(add())
        watch.look()
        monkeypatch.setattr(Registry, "champion", lambda _: pytest.fail("asked"))
        watch.look()

    def test_a_damaged_copy_is_fetched_again(self, models: Registry, add: Add, watch: ChampionWatch) -> None:
        number = add()
        models.promote(number)
        watch.look()
        (models.models_dir / CHAMPION_FILE).write_text("{")
        watch.look()
        found = kept_champion(models.models_dir)
        assert found is not None
        assert found[0] == number

    def test_the_kept_champion_serves_while_the_store_is_damaged_and_one_line_says_so(
        self, models: Registry, add: Add, watch: ChampionWatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        number = add()
        models.promote(number)
        path = models.models_dir / DATABASE_FILE
        whole = path.read_bytes()
        path.write_bytes(b"not a database" * 100)
        for _ in range(3):
            watch.look()
        assert load_champion(models.models_dir).name == number
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "the kept one goes on serving" in caplog.text
        path.write_bytes(whole)
        with caplog.at_level(logging.INFO):
            watch.look()
        assert "can be read again" in caplog.text

    def test_a_champion_that_cannot_be_read_leaves_the_kept_one(
        self, models: Registry, add: Add, watch: ChampionWatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = add(), add()
        models.promote(first)
        damage(models, second)
        models.client.set_registered_model_alias(registry.NAME, registry.CHAMPION, second)
        watch.look()
        assert load_champion(models.models_dir).name == first
        assert "it is damaged" in caplog.text


def test_the_store_is_whole_sqlite(models: Registry, add: Add) -> None:
    """Processes that Mage forks must not find a write-ahead log, which they would corrupt."""
    add()
    with sqlite3.connect(models.models_dir / DATABASE_FILE) as connection:
        mode: Any = connection.execute("PRAGMA journal_mode").fetchone()
    assert mode == ("delete",)


def test_a_version_without_a_run_is_named(models: Registry) -> None:
    version = models.client.create_model_version(registry.NAME, "file:///nowhere")
    with pytest.raises(UnusableVersionError, match="without a run"):
        models.load(version)
    assert models.metrics(version) == {}
