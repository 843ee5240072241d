import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from workflows.common.errors import NotReadyError
from workflows.survival import registry
from workflows.survival.features import FEATURE_NAMES, PassengerFeatures
from workflows.survival.inference import predict_passenger

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
    (lambda folder: edit_metadata(folder, features=["age"]), "features are not those of this code"),
    (lambda folder: edit_metadata(folder, libraries={"scikit-learn": "0.1.0"}), "trained with scikit-learn 0.1.0"),
    (lambda folder: edit_metadata(folder, libraries=None), "trained with scikit-learn None"),
    (lambda folder: edit_metadata(folder, probe=[0.1, 0.2, 0.3, 0.4, 0.5]), "predicts differently with this code"),
    (lambda folder: edit_metadata(folder, probe=[0.1]), "predicts differently with this code"),
    (replace_model, "not a survival model"),
    (damage_model, "cannot be read"),
]


def test_a_saved_version_loads_unchanged(tmp_path: Path, save: Save, pipeline: Pipeline, titanic: pd.DataFrame) -> None:
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


def test_the_newest_version_serves_and_names_sort_by_time(tmp_path: Path, save: Save) -> None:
    names = [save() for _ in range(3)]
    assert names == sorted(names)
    assert registry.serving_version(tmp_path).name == names[-1]


def test_a_new_name_sorts_last_even_if_the_clock_was_set_back(tmp_path: Path, save: Save) -> None:
    first = save()
    future = f"29990101T000000000000Z-{first[-8:]}"
    (tmp_path / first).rename(tmp_path / future)
    assert save() == f"29990101T000000000001Z-{first[-8:]}"


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_an_unusable_version_is_skipped_with_a_warning(
    tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object], reason: str
) -> None:
    good, bad = save(), save()
    damage(tmp_path / bad)
    with caplog.at_level(logging.WARNING):
        assert registry.serving_version(tmp_path).name == good
    assert len(caplog.records) == 1
    assert bad in caplog.text
    assert reason in caplog.text


def test_without_a_usable_version_the_error_names_the_pipeline_to_run(tmp_path: Path, save: Save) -> None:
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


def test_concurrent_saves_make_one_version_each(tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    # All four threads choose the same name before any of them has written it.
    barrier = threading.Barrier(4)
    waited = threading.local()
    original = registry._new_name

    def same_name(models_dir: Path, fingerprint: str) -> str:
        if getattr(waited, "once", False):
            return original(models_dir, fingerprint)
        waited.once = True
        barrier.wait(10)
        return "20240101T000000000000Z-abababab"

    monkeypatch.setattr(registry, "_new_name", same_name)
    with ThreadPoolExecutor(4) as executor:
        names = [future.result() for future in [executor.submit(save) for _ in range(4)]]
    assert len(set(names)) == 4
    assert {version.name for version in registry.usable_versions(tmp_path)} == set(names)


def test_only_the_newest_versions_are_kept(tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "KEPT_VERSIONS", 3)
    names = [save() for _ in range(5)]
    assert names_in(tmp_path) == names[2:]


def test_abandoned_temporary_folders_are_removed_and_others_are_kept(tmp_path: Path, save: Save) -> None:
    abandoned, under_way = tmp_path / ".20240101T000000000000Z-abababab.x", tmp_path / ".20240101T000000000000Z-c.y"
    for folder in (abandoned, under_way, tmp_path / "notes"):
        folder.mkdir()
    os.utime(abandoned, (0, 0))
    name = save()
    assert names_in(tmp_path) == sorted([under_way.name, "notes", name])


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), OSError(5, "Input/output error"), MemoryError()])
@pytest.mark.parametrize("step", ["joblib.load", "_hash_file", "_probe", "json.loads"])
def test_a_temporary_lack_of_resources_does_not_make_a_version_unusable(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    save()
    name = save()

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"workflows.survival.registry.{step}", fail)
        with pytest.raises(type(error)):
            registry.load(tmp_path, name)
        with pytest.raises(type(error)):
            predict_passenger({"sex": "female"}, tmp_path)
    assert predict_passenger({"sex": "female"}, tmp_path)["model_version"] == name


def test_a_temporary_lack_of_resources_does_not_make_the_pointer_unreadable(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save()
    registry.promote(tmp_path, first)
    save()
    original = Path.read_text

    def fail(path: Path, **options: str) -> str:
        if path.name == "serving.json":
            raise OSError(24, "Too many open files")
        return original(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", fail)
        with pytest.raises(OSError, match="Too many open files"):
            registry.serving_version(tmp_path)
    assert registry.serving_version(tmp_path).name == first


class TestChangedCode:
    """A saved version is loaded by code that interprets the fitted attributes differently."""

    def test_that_ignores_companions(self, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
        name = save()
        monkeypatch.setattr(PassengerFeatures, "_companions", lambda *_: [])
        with pytest.raises(registry.UnusableVersionError, match="predicts differently"):
            registry.load(tmp_path, name)

    def test_that_needs_another_attribute_of_companions(
        self, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = save()
        original = PassengerFeatures._companions
        monkeypatch.setattr(
            PassengerFeatures, "_companions", lambda *args: [other for other in original(*args) if other.new_field]
        )
        with pytest.raises(registry.UnusableVersionError, match=r"cannot predict with this code .*new_field"):
            registry.load(tmp_path, name)

    def test_that_needs_another_fitted_attribute(
        self, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = save()
        monkeypatch.setattr(PassengerFeatures, "unseen", lambda self, _: self.new_field_)
        with pytest.raises(registry.UnusableVersionError, match=r"cannot predict with this code .*new_field_"):
            registry.load(tmp_path, name)

    @pytest.mark.parametrize("change", [lambda probe: [*probe[:7], 0.5], lambda probe: [*probe, 0.5], lambda _: []])
    def test_every_probe_prediction_is_compared(
        self, tmp_path: Path, save: Save, change: Callable[[list[float]], list[float]]
    ) -> None:
        name = save()
        probe = registry.read_metadata(tmp_path, name)["probe"]
        assert len(probe) == 8
        edit_metadata(tmp_path / name, probe=change(probe))
        with pytest.raises(registry.UnusableVersionError, match="predicts differently"):
            registry.load(tmp_path, name)


def test_hash_of_the_data(titanic: pd.DataFrame) -> None:
    original = registry.hash_data(titanic)
    assert registry.hash_data(titanic.sample(frac=1, random_state=0)) == original
    changed = titanic.copy()
    changed.loc[5, "fare"] = np.nextafter(changed.loc[5, "fare"], 1000)
    assert registry.hash_data(changed) != original


def test_fingerprint_depends_on_the_content_and_not_the_order() -> None:
    assert registry.compute_fingerprint({"a": 1, "b": 2}) == registry.compute_fingerprint({"b": 2, "a": 1})
    assert registry.compute_fingerprint({"a": 1}) != registry.compute_fingerprint({"a": 2})


def test_the_code_hash_covers_every_module_that_determines_the_model() -> None:
    """All modules that training and evaluation import, directly or indirectly, are hashed."""
    package = Path(registry.__file__).parents[1]
    found: set[str] = set()
    waiting = ["survival/training.py", "survival/evaluation.py"]
    while waiting:
        module = waiting.pop()
        found.add(module)
        for name in re.findall(r"^from workflows\.([\w.]+) import", (package / module).read_text(), re.MULTILINE):
            path = name.replace(".", "/") + ".py"
            # The error classes do not affect any metric.
            if path not in found and path != "common/errors.py":
                waiting.append(path)
    assert found == set(registry._MODEL_MODULES)


class TestPointer:
    def test_a_promoted_version_serves_and_is_added_to_the_history(self, tmp_path: Path, save: Save) -> None:
        second, third = save(), save()
        assert registry.history(tmp_path) == []
        registry.promote(tmp_path, second)
        assert registry.serving_version(tmp_path).name == second
        registry.promote(tmp_path, third, registry.PROMOTED)
        assert registry.serving_version(tmp_path).name == third
        entries = registry.history(tmp_path)
        assert [(entry.version, entry.why) for entry in entries] == [
            (second, "promoted by hand"),
            (third, "promoted"),
        ]
        assert [entry.since_utc for entry in entries] == sorted(entry.since_utc for entry in entries)

    def test_a_newer_version_does_not_serve_until_it_is_promoted(self, tmp_path: Path, save: Save) -> None:
        first = save()
        registry.promote(tmp_path, first)
        second = save()
        assert registry.serving_version(tmp_path).name == first
        assert registry.promote_if_still_serving(tmp_path, second, first)
        assert registry.serving_version(tmp_path).name == second

    def test_the_next_prediction_uses_the_promoted_version(
        self, tmp_path: Path, save: Save, kim: dict[str, object]
    ) -> None:
        first, second = save(), save()
        assert predict_passenger(kim, tmp_path)["model_version"] == second
        registry.promote(tmp_path, first)
        assert predict_passenger(kim, tmp_path)["model_version"] == first
        registry.promote(tmp_path, second)
        assert predict_passenger(kim, tmp_path)["model_version"] == second
        registry.roll_back(tmp_path)
        assert predict_passenger(kim, tmp_path)["model_version"] == first

    def test_promoting_the_serving_version_changes_nothing(self, tmp_path: Path, save: Save) -> None:
        registry.promote(tmp_path, name := save())
        before = registry.history(tmp_path)
        assert [entry.version for entry in before] == [name]
        registry.promote(tmp_path, name)
        assert registry.history(tmp_path) == before

    def test_a_version_compared_with_another_one_than_serves_is_not_promoted(self, tmp_path: Path, save: Save) -> None:
        first, second, third = save(), save(), save()
        registry.promote(tmp_path, second)
        assert not registry.promote_if_still_serving(tmp_path, third, first)
        assert not registry.promote_if_still_serving(tmp_path, third, None)
        assert registry.serving_version(tmp_path).name == second

    def test_without_a_pointer_the_newest_version_that_was_not_rejected_serves(
        self, tmp_path: Path, save: Save, pipeline: Pipeline
    ) -> None:
        good = save()
        registry.save(tmp_path, pipeline, {"promotion": {"accepted": False, "reasons": ["r"]}}, "ab" * 32)
        assert registry.serving_version(tmp_path).name == good

    def test_a_rejected_version_does_not_serve(self, tmp_path: Path, pipeline: Pipeline) -> None:
        registry.save(tmp_path, pipeline, {"promotion": {"accepted": False, "reasons": ["r"]}}, "ab" * 32)
        with pytest.raises(NotReadyError, match="none of the 1 versions can serve"):
            registry.serving_version(tmp_path)

    @pytest.mark.parametrize(("damage", "reason"), DAMAGES)
    def test_if_the_promoted_version_is_unusable_the_one_promoted_before_serves(
        self,
        tmp_path: Path,
        save: Save,
        caplog: pytest.LogCaptureFixture,
        damage: Callable[[Path], object],
        reason: str,
    ) -> None:
        names = [save() for _ in range(4)]
        for name in (names[1], names[0], names[2]):
            registry.promote(tmp_path, name)
        damage(tmp_path / names[2])
        assert registry.serving_version(tmp_path).name == names[0]
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert names[2] in caplog.text
        assert reason in caplog.text

    def test_a_missing_promoted_version_is_logged(
        self, tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = save(), save()
        registry.promote(tmp_path, second)
        shutil.rmtree(tmp_path / second)
        assert registry.serving_version(tmp_path).name == first
        assert second in caplog.text

    def test_missing_older_versions_are_not_logged(
        self, tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture
    ) -> None:
        names = [save() for _ in range(4)]
        for name in names:
            registry.promote(tmp_path, name)
        shutil.rmtree(tmp_path / names[1])
        shutil.rmtree(tmp_path / names[2])
        truncate("model.joblib")(tmp_path / names[3])
        assert registry.serving_version(tmp_path).name == names[0]
        assert len(caplog.records) == 1

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "{}",
            '{"history": [1]}',
            '{"history": [{"version": "../x", "since_utc": "", "why": ""}]}',
            "\xff",
        ],
    )
    def test_an_unreadable_pointer_is_logged_and_replaced_by_the_next_promotion(
        self, tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture, text: str
    ) -> None:
        first, second = save(), save()
        (tmp_path / "serving.json").write_text(text, encoding="latin-1")
        assert registry.serving_version(tmp_path).name == second
        assert "serving.json cannot be read" in caplog.text
        registry.promote(tmp_path, first)
        assert (tmp_path / "serving.json.broken").read_text(encoding="latin-1") == text
        caplog.clear()
        assert registry.serving_version(tmp_path).name == first
        assert caplog.text == ""
        # A pointer that can be read is none to keep.
        registry.promote(tmp_path, second)
        assert (tmp_path / "serving.json.broken").read_text(encoding="latin-1") == text

    def test_an_unusable_version_cannot_be_promoted(self, tmp_path: Path, save: Save) -> None:
        good, bad = save(), save()
        registry.promote(tmp_path, good)
        delete("model.joblib")(tmp_path / bad)
        before = (tmp_path / "serving.json").read_bytes()
        for promote in (registry.promote, lambda *args: registry.promote_if_still_serving(*args, good)):
            with pytest.raises(registry.UnusableVersionError, match=r"model\.joblib is missing"):
                promote(tmp_path, bad)
        assert (tmp_path / "serving.json").read_bytes() == before

    def test_a_process_killed_while_it_promotes_leaves_the_old_version_serving(
        self, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = save(), save()
        registry.promote(tmp_path, first)
        for step in ("os.fsync", "os.chmod", "os.replace"):
            with monkeypatch.context() as patch:
                patch.setattr(f"workflows.common.files.{step}", raiser(KeyboardInterrupt))
                with pytest.raises(KeyboardInterrupt):
                    registry.promote(tmp_path, second)
            assert registry.serving_version(tmp_path).name == first
            assert names_in(tmp_path) == sorted([first, second, "serving.json"])
        registry.promote(tmp_path, second)
        assert registry.serving_version(tmp_path).name == second

    def test_concurrent_promotions_are_all_kept(
        self, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [save() for _ in range(4)]
        written: list[str] = []
        original = registry.write_text_atomically
        monkeypatch.setattr(
            registry, "write_text_atomically", lambda path, text: written.append(text) or original(path, text)
        )

        def promote_in_turn(name: str) -> None:
            for _ in range(4):
                registry.promote(tmp_path, name)
                assert registry.serving_version(tmp_path).name in names

        with ThreadPoolExecutor(4) as executor:
            list(executor.map(promote_in_turn, names))
        assert len(written) > 4
        assert len(registry.history(tmp_path)) == len(written)

    def test_another_process_waits_for_the_lock(self, tmp_path: Path, save: Save) -> None:
        name = save()
        program = (
            "import sys; from filelock import FileLock\n"
            "with FileLock(sys.argv[1]):\n"
            "    print('held', flush=True); sys.stdin.read()\n"
        )
        lock = str(tmp_path / ".serving.lock")
        with (
            subprocess.Popen([sys.executable, "-c", program, lock], stdin=-1, stdout=-1) as process,
            ThreadPoolExecutor(1) as executor,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            promotion = executor.submit(registry.promote, tmp_path, name)
            assert not wait([promotion], 0.3).done
            assert not (tmp_path / "serving.json").exists()
            process.stdin.close()
            promotion.result(30)
        assert registry.history(tmp_path)[-1].why == registry.PROMOTED_BY_HAND

    def test_waiting_for_the_training_lock_times_out(
        self, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = save()
        monkeypatch.setattr(registry, "_TRAINING_LOCK_SECONDS", 0.05)
        with registry.training_lock(tmp_path):
            with pytest.raises(NotReadyError, match="another process"), registry.training_lock(tmp_path):
                pytest.fail("two trainings at once")
            # Promotion does not wait for training.
            registry.promote(tmp_path, name)


class TestRollBack:
    def test_each_roll_back_goes_one_version_further_back(self, tmp_path: Path, save: Save) -> None:
        names = []
        for _ in range(3):
            names.append(save())
            registry.promote(tmp_path, names[-1])
        assert registry.roll_back(tmp_path) == (names[2], names[1])
        assert registry.serving_version(tmp_path).name == names[1]
        assert registry.roll_back(tmp_path) == (names[1], names[0])
        with pytest.raises(NotReadyError, match="no usable version that served before"):
            registry.roll_back(tmp_path)
        assert registry.serving_version(tmp_path).name == names[0]

    def test_it_undoes_a_promotion_by_hand(self, tmp_path: Path, save: Save) -> None:
        names = [save() for _ in range(3)]
        for name in (*names, names[0]):
            registry.promote(tmp_path, name)
        assert registry.roll_back(tmp_path) == (names[0], names[2])

    def test_a_version_promoted_twice_is_left_by_one_roll_back(self, tmp_path: Path, save: Save) -> None:
        first, second = save(), save()
        for name in (first, second, first):
            registry.promote(tmp_path, name)
        assert registry.roll_back(tmp_path) == (first, second)
        with pytest.raises(NotReadyError, match="no usable version that served before"):
            registry.roll_back(tmp_path)
        assert registry.serving_version(tmp_path).name == second

    def test_before_the_first_promotion_there_is_nothing_to_roll_back_to(self, tmp_path: Path, save: Save) -> None:
        save(), save()
        with pytest.raises(NotReadyError, match="no usable version that served before"):
            registry.roll_back(tmp_path)

    def test_it_skips_unusable_versions(self, tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture) -> None:
        names = [save() for _ in range(3)]
        for name in names:
            registry.promote(tmp_path, name)
        truncate("model.joblib")(tmp_path / names[1])
        assert registry.roll_back(tmp_path) == (names[2], names[0])
        assert names[1] in caplog.text

    def test_a_rolled_back_version_serves_only_if_no_other_can(self, tmp_path: Path, save: Save) -> None:
        names = [save() for _ in range(3)]
        for name in names:
            registry.promote(tmp_path, name)
        registry.roll_back(tmp_path)
        truncate("model.joblib")(tmp_path / names[1])
        assert registry.serving_version(tmp_path).name == names[0]
        truncate("model.joblib")(tmp_path / names[0])
        assert registry.serving_version(tmp_path).name == names[2]

    @pytest.mark.parametrize(("change", "by_hand"), [("roll back", True), ("by hand", True), ("automatic", False)])
    def test_a_version_replaced_by_hand_is_distinguished_from_one_replaced_by_training(
        self, tmp_path: Path, save: Save, change: str, by_hand: bool
    ) -> None:
        first, second, third = save(), save(), save()
        registry.promote(tmp_path, first)
        registry.promote(tmp_path, second)
        assert not registry.was_replaced_by_hand(tmp_path, second)
        if change == "roll back":
            registry.roll_back(tmp_path)
        else:
            registry.promote(tmp_path, third, registry.PROMOTED if change == "automatic" else registry.PROMOTED_BY_HAND)
        assert registry.was_replaced_by_hand(tmp_path, second) is by_hand
        assert not registry.was_replaced_by_hand(tmp_path, "never there")


class TestSaving:
    def test_the_serving_version_and_the_one_before_are_never_removed(
        self, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry, "KEPT_VERSIONS", 2)
        names = [save() for _ in range(2)]
        registry.promote(tmp_path, names[0])
        registry.promote(tmp_path, names[1])
        later = [save() for _ in range(4)]
        assert registry.version_names(tmp_path) == [later[3], later[2], names[1], names[0]]
        assert registry.roll_back(tmp_path) == (names[1], names[0])

    def test_usable_versions_are_kept_if_the_promoted_one_is_damaged(
        self, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [save() for _ in range(3)]
        for name in names:
            registry.promote(tmp_path, name)
        truncate("model.joblib")(tmp_path / names[2])
        monkeypatch.setattr(registry, "KEPT_VERSIONS", 1)
        save()
        assert registry.serving_version(tmp_path).name == names[1]
        assert registry.roll_back(tmp_path) == (names[2], names[1])
        assert registry.roll_back(tmp_path) == (names[1], names[0])

    def test_additional_files_are_saved_with_the_version(self, tmp_path: Path, pipeline: Pipeline) -> None:
        files = {"card.html": lambda metadata: f"<p>{metadata['version']} é {metadata['rows']}</p>"}
        name = registry.save(tmp_path, pipeline, {"rows": 891}, "ab" * 32, files)
        assert (tmp_path / name / "card.html").read_text(encoding="utf-8") == f"<p>{name} é 891</p>"
        assert registry.load(tmp_path, name).name == name

    def test_no_version_is_saved_if_an_additional_file_fails(self, tmp_path: Path, pipeline: Pipeline) -> None:
        with pytest.raises(ZeroDivisionError):
            registry.save(tmp_path, pipeline, {}, "ab" * 32, {"card.html": lambda _: str(1 / 0)})
        assert registry.version_names(tmp_path) == names_in(tmp_path) == []

    def test_an_abandoned_temporary_pointer_is_removed(self, tmp_path: Path, save: Save) -> None:
        abandoned = tmp_path / ".serving.json.abc"
        abandoned.write_text("{")
        os.utime(abandoned, (0, 0))
        assert names_in(tmp_path) == [".serving.json.abc"]
        name = save()
        assert names_in(tmp_path) == [name]

    def test_a_version_is_found_by_its_fingerprint(self, tmp_path: Path, pipeline: Pipeline) -> None:
        # The first eight digits, which are part of the name, are the same.
        first = registry.save(tmp_path, pipeline, {}, "ab" * 32)
        registry.save(tmp_path, pipeline, {}, "ab" * 31 + "cd")
        found = registry.find_by_fingerprint(tmp_path, "ab" * 32)
        assert found is not None
        assert found.name == first
        assert registry.find_by_fingerprint(tmp_path, "cd" * 32) is None
        delete("metadata.json")(tmp_path / first)
        assert registry.find_by_fingerprint(tmp_path, "ab" * 32) is None

    def test_the_serving_profile_is_that_of_the_serving_version(self, tmp_path: Path, pipeline: Pipeline) -> None:
        assert registry.serving_profile(tmp_path) is None
        names = [registry.save(tmp_path, pipeline, {"profile": {"rows": rows}}, "ab" * 32) for rows in (1, 2)]
        registry.promote(tmp_path, names[0])
        assert registry.serving_profile(tmp_path) == {"rows": 1}
        # A model of other libraries cannot serve, but its profile can still be read.
        edit_metadata(tmp_path / names[0], libraries={})
        assert registry.serving_profile(tmp_path) == {"rows": 1}
        truncate("metadata.json")(tmp_path / names[0])
        assert registry.serving_profile(tmp_path) == {"rows": 2}

    def test_a_version_without_a_profile_is_skipped(self, tmp_path: Path, pipeline: Pipeline) -> None:
        known = registry.save(tmp_path, pipeline, {"profile": {"rows": 1}}, "ab" * 32)
        unknown = registry.save(tmp_path, pipeline, {}, "ab" * 32)
        for name in (known, unknown):
            registry.promote(tmp_path, name)
        assert registry.serving_profile(tmp_path) == {"rows": 1}


def test_list_versions(tmp_path: Path, save: Save, pipeline: Pipeline) -> None:
    assert registry.list_versions(tmp_path / "not there") == []
    before, serving = save(), save()
    registry.promote(tmp_path, before)
    registry.promote(tmp_path, serving)
    promotion = {"accepted": False, "reasons": ["worse", "and worse"]}
    rejected = registry.save(tmp_path, pipeline, {"promotion": promotion}, "ab" * 32)
    candidate, unusable = save(), save()
    delete("model.joblib")(tmp_path / unusable)
    listed = registry.list_versions(tmp_path)
    assert [(version.name, version.status) for version in listed] == [
        (unusable, "unusable"),
        (candidate, "candidate"),
        (rejected, "rejected"),
        (serving, "serving"),
        (before, "served before"),
    ]
    notes = {version.name: version.note for version in listed}
    assert notes[unusable] == "model.joblib is missing"
    assert notes[rejected] == "worse; and worse"
    assert notes[serving].startswith("promoted by hand 20")
    assert {registry.status(tmp_path, version.name) == version.status for version in listed} == {True}
    # If the promoted version is damaged, the one before it serves.
    truncate("model.joblib")(tmp_path / serving)
    assert registry.status(tmp_path, serving) == "unusable"
    assert (
        registry.status(tmp_path, before)
        == "serving"
        == registry.status(tmp_path, registry.serving_version(tmp_path).name)
    )


def test_the_status_of_one_version_loads_no_other_versions_than_needed(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [save() for _ in range(4)]
    registry.promote(tmp_path, names[0])
    registry.promote(tmp_path, names[3])
    loaded: list[str] = []
    original = registry.load
    monkeypatch.setattr(registry, "load", lambda path, name: loaded.append(name) or original(path, name))
    assert registry.status(tmp_path, names[3]) == "serving"
    assert loaded == [names[3]]
    assert registry.status(tmp_path, names[0]) == "served before"
    assert loaded == [names[3], names[3], names[0]]
    shutil.rmtree(tmp_path / names[0])
    assert registry.status(tmp_path, names[0]) == "gone"
    assert len(loaded) == 3


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class TestGitCommit:
    def test_a_branch(self, tmp_path: Path) -> None:
        write(tmp_path / ".git" / "HEAD", "ref: refs/heads/main\n")
        assert registry.git_commit(tmp_path) is None
        write(tmp_path / ".git" / "packed-refs", f"# pack-refs\n{'1' * 40} refs/heads/m\n{COMMIT} refs/heads/main\n")
        assert registry.git_commit(tmp_path) == COMMIT
        write(tmp_path / ".git" / "refs" / "heads" / "main", f"{'2' * 40}\n")
        assert registry.git_commit(tmp_path) == "2" * 40

    def test_no_branch(self, tmp_path: Path) -> None:
        write(tmp_path / ".git" / "HEAD", f"{COMMIT}\n")
        assert registry.git_commit(tmp_path) == COMMIT

    @pytest.mark.parametrize("absolute", [True, False])
    def test_a_worktree(self, tmp_path: Path, absolute: bool) -> None:
        git = tmp_path / "main" / ".git"
        write(git / "refs" / "heads" / "side", f"{COMMIT}\n")
        write(git / "worktrees" / "side" / "HEAD", "ref: refs/heads/side\n")
        write(git / "worktrees" / "side" / "commondir", "../..\n")
        place = git / "worktrees" / "side" if absolute else "../main/.git/worktrees/side"
        write(tmp_path / "side" / ".git", f"gitdir: {place}\n")
        assert registry.git_commit(tmp_path / "side") == COMMIT

    def test_no_checkout(self, tmp_path: Path) -> None:
        assert registry.git_commit(tmp_path) is None
        write(tmp_path / ".git", "gitdir: nowhere\n")
        assert registry.git_commit(tmp_path) is None


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def raiser(error: type[BaseException]) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail
