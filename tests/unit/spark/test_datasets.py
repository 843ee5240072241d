import re
from datetime import UTC, datetime, timedelta

from workflows.common.settings import Settings
from workflows.spark.datasets import DATASET_NAME, datasets_to_remove, new_dataset_uri, remove_old_datasets

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def settings_with(**values: object) -> Settings:
    return Settings(_env_file=None, **values)


def name_at(age: timedelta, table: str = "salaries") -> str:
    uri = new_dataset_uri(settings_with(spark_data_uri="s3a://b"), table, 7, NOW - age)
    return uri.rsplit("/", 1)[1]


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


def test_the_newest_the_young_and_what_is_not_ours_are_kept():
    days = [name_at(timedelta(days=age)) for age in range(1, 6)]
    young = [name_at(timedelta(minutes=minutes)) for minutes in (1, 59)]
    others = ["20200101T000000Z", "notes", "20200101T000000Z_run_1_salaries_abc"]
    names = [*days, *young, *others]
    assert set(datasets_to_remove(names, 3, NOW)) == set(days[1:])
    assert datasets_to_remove(young, 1, NOW) == []


def test_old_datasets_are_removed_from_the_state_folder_alone(tmp_path):
    settings = settings_with(state_dir=tmp_path, spark_keep_datasets=2)
    names = [name_at(timedelta(days=age)) for age in range(1, 5)]
    for name in [*names, "mine"]:
        (tmp_path / "spark" / name).mkdir(parents=True)
        (tmp_path / "spark" / name / "part-0").touch()
    assert remove_old_datasets(settings.model_copy(update={"spark_data_uri": "s3a://b"}), NOW) == []
    assert set(remove_old_datasets(settings, NOW)) == set(names[2:])
    assert {path.name for path in (tmp_path / "spark").iterdir()} == {*names[:2], "mine"}


def test_nothing_to_remove_is_fine(tmp_path):
    assert remove_old_datasets(settings_with(state_dir=tmp_path), NOW) == []
