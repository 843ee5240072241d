from pathlib import Path

import pytest
from pyspark.sql import functions as F

from workflows.common.errors import ServiceError
from workflows.spark.facts import SUMMARY_COLUMNS, join_facts, match, match_salaries_with_facts
from workflows.spark.salaries import BASE_SALARY_USD, generate_salaries, make_salaries, write_salaries
from workflows.spark.session import spark_session

ROWS = 20_000


@pytest.fixture(scope="module")
def salaries(spark) -> dict:
    return generate_salaries(str(ROWS), 1, 12)


@pytest.fixture(scope="module")
def frame(spark, salaries):
    return spark.read.parquet(salaries["salaries_uri"]).toPandas()


def test_the_summary_tells_what_was_written(salaries, frame, spark_state_dir):
    assert Path(salaries["salaries_uri"]).parent == spark_state_dir / "spark"
    assert "_run_12_salaries_" in salaries["salaries_uri"]
    assert salaries["row_count"] == len(frame) == ROWS
    assert salaries["missing_salary_count"] == frame["salary_usd"].isna().sum()
    assert salaries["mean_salary_usd"] == pytest.approx(frame["salary_usd"].mean(), abs=0.01)


def test_what_was_written_is_its_users_alone(salaries):
    folder = Path(salaries["salaries_uri"])
    assert not [path for path in (folder, *folder.iterdir()) if path.stat().st_mode & 0o077]


def test_the_salaries_look_like_salaries(frame):
    assert list(frame.columns) == ["employee_id", "department", "job_level", "salary_usd"]
    assert frame["employee_id"].is_unique
    assert set(frame["department"]) == set(BASE_SALARY_USD)
    assert set(frame["job_level"]) == {1, 2, 3, 4, 5}
    assert 0.04 < frame["salary_usd"].isna().mean() < 0.06
    assert frame["salary_usd"].dropna().between(20_000, 600_000).all()
    assert (frame["salary_usd"].dropna() % 100 == 0).all()
    by_level = frame.groupby("job_level")["salary_usd"].mean()
    assert by_level.is_monotonic_increasing


def test_the_same_seed_makes_the_same_rows_on_any_partitions(spark, frame):
    some = [tuple(row) for row in make_salaries(spark, 50, 1).coalesce(1).orderBy("employee_id").collect()]
    expected = frame.sort_values("employee_id").head(50).astype(object)
    expected = expected.where(expected.notna(), None)
    assert some == list(expected.itertuples(index=False, name=None))
    assert some != [tuple(row) for row in make_salaries(spark, 50, 2).orderBy("employee_id").collect()]


def test_each_salary_gets_one_fact_and_the_same_one_again(spark, salaries):
    loaded = {"fun_facts": ["first", "second", "second", "ü 'quoted' \" 🦊"]}
    summary = match_salaries_with_facts(salaries, loaded, 12)
    again = match_salaries_with_facts(salaries, loaded, 12)
    assert list(summary.columns) == SUMMARY_COLUMNS
    assert list(summary["fact"]) == loaded["fun_facts"]
    assert summary["employee_count"].sum() == ROWS
    assert summary["employee_count"].between(ROWS / 4 * 0.9, ROWS / 4 * 1.1).all()
    assert summary["missing_salary_count"].sum() == salaries["missing_salary_count"]
    assert summary["matched_uri"].nunique() == 1
    assert not set(summary["matched_uri"]) & set(again["matched_uri"])
    rows, rows_again = (spark.read.parquet(one["matched_uri"][0]) for one in (summary, again))
    assert rows.count() == rows.select("employee_id").distinct().count() == ROWS
    assert rows.exceptAll(rows_again).isEmpty()


def test_without_facts_every_salary_is_kept(spark, salaries):
    summary = match_salaries_with_facts(salaries, {"fun_facts": []}, None)
    assert summary["fact"].isna().all()
    assert list(summary["employee_count"]) == [ROWS]
    matched = spark.read.parquet(summary["matched_uri"][0])
    assert matched.filter(F.col("fact").isNotNull()).isEmpty()
    assert dict(matched.dtypes)["fact"] == "string"


def test_the_salaries_stay_where_they_are(spark, salaries):
    joined = join_facts(spark, spark.read.parquet(salaries["salaries_uri"]), ["a", "b"])
    plan = joined._jdf.queryExecution().executedPlan().toString()
    assert "BroadcastHashJoin" in plan
    assert "CartesianProduct" not in plan
    assert "NestedLoop" not in plan


def test_an_address_in_use_is_not_written_to(spark, salaries):
    uri = salaries["salaries_uri"]
    with pytest.raises(ServiceError, match="already exists"), spark_session() as session:
        write_salaries(session, uri, 10, 1)
    assert spark.read.parquet(uri).count() == ROWS


def test_salaries_that_are_gone_make_one_line(spark, tmp_path):
    with pytest.raises(ServiceError, match=r"local\[\*\] failed.*nowhere") as raised, spark_session() as session:
        match(session, str(tmp_path / "nowhere"), ["a"], str(tmp_path / "out"))
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_storage_that_the_executors_do_not_share_is_noticed(spark, tmp_path, monkeypatch):
    def lose_a_row(spark, row_count, seed):
        return make_salaries(spark, row_count - 1, seed)

    monkeypatch.setattr("workflows.spark.salaries.make_salaries", lose_a_row)
    with pytest.raises(ServiceError, match=r"wrote 10 salaries .* reads 9 .*SPARK_DATA_URI"):
        write_salaries(spark, str(tmp_path / "out"), 10, 1)


def test_nothing_is_left_outside_of_the_state_folder(spark, salaries, spark_state_dir):
    assert spark.conf.get("spark.sql.warehouse.dir").endswith(f"{spark_state_dir.name}/spark-warehouse")
    repository = Path(__file__).parents[2]
    assert not [name for name in ("spark-warehouse", "metastore_db", "derby.log") if (repository / name).exists()]
