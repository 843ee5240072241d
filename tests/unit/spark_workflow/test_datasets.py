import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

from workflows.common.settings import Settings
from workflows.spark_workflow.datasets import DATASET_NAME, new_dataset_uri, remove_old_datasets

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def settings_with(**values: object) -> Settings:
    return Settings(_env_file=None, **values)


def name_at(moment: datetime) -> str:
    uri = new_dataset_uri(settings_with(spark_data_uri="s3a://b"), "salaries", 7, moment)
    return uri.rsplit("/", 1)[1]


def make_folder(state_dir: Path, name: str, age_minutes: int) -> str:
    folder = state_dir / "spark" / name
    folder.mkdir(parents=True)
    (folder / "part-0").touch()
    modified = time.time() - age_minutes * 60
    os.utime(folder, (modified, modified))
    return name


def test_every_execution_has_an_address_of_its_own(tmp_path):
    settings = settings_with(state_dir=tmp_path)
    uris = {new_dataset_uri(settings, "salaries", 7, NOW) for _ in range(50)}
    assert len(uris) == 50
    assert all(re.fullmatch(rf"{tmp_path}/spark/20260504T120000Z_run_7_salaries_[0-9a-f]+", uri) for uri in uris)


def test_the_storage_is_configuration():
    settings = settings_with(spark_data_uri="hdfs://host:8020/data/")
    assert new_dataset_uri(settings, "salaries", None, NOW).startswith(
        "hdfs://host:8020/data/20260504T120000Z_run_none_"
    )


def test_a_strange_run_id_cannot_leave_the_folder():
    name = new_dataset_uri(settings_with(spark_data_uri="/d"), "salaries", "../x y", NOW).removeprefix("/d/")
    assert DATASET_NAME.fullmatch(name)


def test_the_newest_the_young_and_what_is_not_ours_are_kept(tmp_path):
    settings = settings_with(state_dir=tmp_path, spark_keep_datasets=2)
    ages_minutes = [1, 59, 61, 3000, 4000]
    names = [make_folder(tmp_path, name_at(NOW), minutes) for minutes in ages_minutes]
    others = [make_folder(tmp_path, name, 9000) for name in ("mine", "20200101T000000Z_run_1_salaries_abc")]
    elsewhere = settings.model_copy(update={"spark_data_uri": "s3a://b"})
    assert remove_old_datasets(elsewhere) == []
    assert set(remove_old_datasets(settings)) == set(names[2:])
    assert {path.name for path in (tmp_path / "spark").iterdir()} == {*names[:2], *others}


def test_a_young_data_set_stays_beyond_the_number_kept(tmp_path):
    settings = settings_with(state_dir=tmp_path, spark_keep_datasets=2)
    names = [make_folder(tmp_path, name_at(NOW), minutes) for minutes in (1, 30, 59)]
    assert remove_old_datasets(settings) == []
    assert {path.name for path in (tmp_path / "spark").iterdir()} == set(names)


def test_nothing_to_remove_is_fine(tmp_path):
    assert remove_old_datasets(settings_with(state_dir=tmp_path)) == []
