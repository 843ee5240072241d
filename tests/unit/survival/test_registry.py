import json
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from workflows.errors import NotReadyError
from workflows.survival import registry
from workflows.survival.features import FEATURE_NAMES

Save = Callable[[], str]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def edit_metadata(folder: Path, **changes: object) -> None:
    path = folder / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncate(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, 100)


def replace_model(folder: Path) -> None:
    joblib.dump({"not": "a model"}, folder / "model.joblib")
    edit_metadata(folder, model_sha256=registry._hash_file(folder / "model.joblib"))


def damage_model(folder: Path) -> None:
    (folder / "model.joblib").write_bytes(b"\x80garbage")
    edit_metadata(folder, model_sha256=registry._hash_file(folder / "model.joblib"))


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (delete("model.joblib"), "model.joblib is missing"),
    (delete("metadata.json"), "metadata.json is missing"),
    (truncate("model.joblib"), "checksum"),
    (truncate("metadata.json"), "cannot be read"),
    (lambda folder: (folder / "metadata.json").write_text("[]"), "not an object"),
    (lambda folder: edit_metadata(folder, format=99), "format 99"),
    (lambda folder: edit_metadata(folder, features=["age"]), "other features"),
    (lambda folder: edit_metadata(folder, libraries={"scikit-learn": "0.1.0"}), "made with scikit-learn 0.1.0"),
    (lambda folder: edit_metadata(folder, libraries=None), "made with scikit-learn None"),
    (replace_model, "not a survival model"),
    (damage_model, "cannot be read"),
]


def test_what_was_saved_comes_back(tmp_path: Path, save: Save, pipeline: Pipeline, titanic: pd.DataFrame) -> None:
    name = save()
    version = registry.serving_version(tmp_path)
    assert version.name == name == version.metadata["version"]
    assert version.metadata["rows"] == 891
    assert version.metadata["features"] == list(FEATURE_NAMES)
    assert version.metadata["libraries"] == registry.library_versions()
    assert version.metadata["created_utc"].endswith("+00:00")
    np.testing.assert_array_equal(version.pipeline.predict_proba(titanic), pipeline.predict_proba(titanic))
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["metadata.json", "model.joblib"]
    assert names_in(tmp_path) == [name]


def test_the_newest_serves_and_names_sort_by_time(tmp_path: Path, save: Save) -> None:
    names = [save() for _ in range(3)]
    assert names == sorted(names)
    assert registry.serving_version(tmp_path).name == names[-1]


def test_a_clock_that_was_set_back_does_not_bring_old_versions_forward(tmp_path: Path, save: Save) -> None:
    first = save()
    future = f"29990101T000000000000Z-{first[-8:]}"
    (tmp_path / first).rename(tmp_path / future)
    assert save() == f"29990101T000000000001Z-{first[-8:]}"


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_bad_version_is_skipped_with_a_warning(
    tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object], reason: str
) -> None:
    good, bad = save(), save()
    damage(tmp_path / bad)
    with caplog.at_level(logging.WARNING):
        assert registry.serving_version(tmp_path).name == good
    assert len(caplog.records) == 1
    assert bad in caplog.text
    assert reason in caplog.text


def test_no_good_version_names_the_pipeline_to_run(tmp_path: Path, save: Save) -> None:
    with pytest.raises(NotReadyError, match="ml_training_and_inference"):
        registry.serving_version(tmp_path / "not there")
    delete("model.joblib")(tmp_path / save())
    with pytest.raises(NotReadyError, match="ml_training_and_inference"):
        registry.serving_version(tmp_path)


def test_a_failed_write_leaves_nothing(tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    good = save()

    def fail(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(registry.joblib, "dump", fail)
    with pytest.raises(OSError, match="disk full"):
        save()
    assert names_in(tmp_path) == [good]


def test_concurrent_saves_are_versions_of_their_own(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All four find the same name free before any has written it.
    barrier = threading.Barrier(4)
    waited = threading.local()
    original = registry._next_name

    def same_name(models_dir: Path, fingerprint: str) -> str:
        if getattr(waited, "once", False):
            return original(models_dir, fingerprint)
        waited.once = True
        barrier.wait(10)
        return "20240101T000000000000Z-abababab"

    monkeypatch.setattr(registry, "_next_name", same_name)
    with ThreadPoolExecutor(4) as executor:
        names = [future.result() for future in [executor.submit(save) for _ in range(4)]]
    assert len(set(names)) == 4
    assert {version.name for version in registry.usable_versions(tmp_path)} == set(names)


def test_only_the_last_versions_are_kept(tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "KEPT_VERSIONS", 3)
    names = [save() for _ in range(5)]
    assert names_in(tmp_path) == names[2:]


def test_abandoned_writes_are_cleared_and_other_files_left(tmp_path: Path, save: Save) -> None:
    abandoned, under_way = tmp_path / ".20240101T000000000000Z-abababab.x", tmp_path / ".20240101T000000000000Z-c.y"
    for folder in (abandoned, under_way, tmp_path / "notes"):
        folder.mkdir()
    os.utime(abandoned, (0, 0))
    name = save()
    assert names_in(tmp_path) == sorted([under_way.name, "notes", name])


def test_hash_of_the_data(titanic: pd.DataFrame) -> None:
    original = registry.hash_data(titanic)
    assert registry.hash_data(titanic.sample(frac=1, random_state=0)) == original
    changed = titanic.copy()
    changed.loc[5, "fare"] = np.nextafter(changed.loc[5, "fare"], 1000)
    assert registry.hash_data(changed) != original


def test_fingerprint_depends_on_the_content_and_not_the_order() -> None:
    assert registry.fingerprint({"a": 1, "b": 2}) == registry.fingerprint({"b": 2, "a": 1})
    assert registry.fingerprint({"a": 1}) != registry.fingerprint({"a": 2})
