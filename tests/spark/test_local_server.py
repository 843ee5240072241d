"""The blocks and their sessions at the server of this machine: one file, so that one server does for all of it."""

import threading
from pathlib import Path

import psutil
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import functions as F
from pyspark.sql.connect.session import SparkSession as ConnectSession

from benchmarks.bench_spark import measure
from workflows.common.errors import ServiceError
from workflows.common.local_services import (
    ensure_service,
    running_service,
    running_services,
    service_key,
    stop_services,
)
from workflows.common.processes import recorded_process
from workflows.spark_workflow.facts import SUMMARY_COLUMNS, match, match_salaries_with_facts, with_fact_keys
from workflows.spark_workflow.salaries import BASE_SALARY_USD, generate_salaries, make_salaries, write_salaries
from workflows.spark_workflow.server import SPARK_SERVER
from workflows.spark_workflow.session import LocalChannel, spark_session

ROWS = 20_000


@pytest.fixture(scope="module")
def salaries(spark) -> dict:
    return generate_salaries(str(ROWS), 1, 12)


@pytest.fixture(scope="module")
def frame(spark, salaries):
    return spark.read.parquet(salaries["salaries_uri"]).toPandas()


def server_process(state_dir: Path) -> psutil.Process:
    process = recorded_process(state_dir / "services" / f"{SPARK_SERVER.name}.json")
    assert process is not None
    return process


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
    facts = spark.read.parquet(summary["facts_uri"][0])
    with_text = rows.join(facts, "fact_index")
    assert with_text.count() == ROWS
    counted = {
        row["fact_index"]: (row["fact"], row["count"]) for row in with_text.groupBy(*facts.columns).count().collect()
    }
    assert [counted[index] for index in range(4)] == list(zip(summary["fact"], summary["employee_count"], strict=True))


def test_without_facts_every_salary_is_kept(spark, salaries):
    summary = match_salaries_with_facts(salaries, {"fun_facts": []}, None)
    assert summary["fact"].isna().all()
    assert list(summary["employee_count"]) == [ROWS]
    matched = spark.read.parquet(summary["matched_uri"][0])
    assert matched.filter(F.col("fact_index").isNotNull()).isEmpty()
    facts = spark.read.parquet(summary["facts_uri"][0])
    assert facts.isEmpty()
    assert matched.join(facts, "fact_index", "left").count() == ROWS
    assert dict(matched.dtypes)["fact_index"] == dict(facts.dtypes)["fact_index"] == "int"


def test_the_salaries_stay_where_they_are(spark, salaries, capsys):
    with_fact_keys(spark.read.parquet(salaries["salaries_uri"]), 2).explain()
    plan = capsys.readouterr().out
    assert "FileScan" in plan
    assert "Exchange" not in plan


def test_an_address_in_use_is_not_written_to(spark, salaries):
    uri = salaries["salaries_uri"]
    with pytest.raises(ServiceError, match="already exists"), spark_session() as session:
        write_salaries(session, uri, 10, 1)
    assert spark.read.parquet(uri).count() == ROWS


def test_salaries_that_are_gone_make_one_line(spark, tmp_path):
    with pytest.raises(ServiceError, match=r"local\[\*\] failed.*nowhere") as raised, spark_session() as session:
        match(session, str(tmp_path / "nowhere"), ["a"], str(tmp_path / "out"), str(tmp_path / "facts"))
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_storage_that_the_executors_do_not_share_is_noticed(spark, tmp_path, monkeypatch):
    def lose_a_row(spark, row_count, seed):
        return make_salaries(spark, row_count - 1, seed)

    monkeypatch.setattr("workflows.spark_workflow.salaries.make_salaries", lose_a_row)
    with pytest.raises(ServiceError, match=r"wrote 10 salaries .* reads 9 .*SPARK_DATA_URI"):
        write_salaries(spark, str(tmp_path / "out"), 10, 1)


def test_nothing_is_left_outside_of_the_state_folder(spark, salaries, spark_state_dir):
    assert spark.conf.get("spark.sql.warehouse.dir").endswith(f"{spark_state_dir.name}/spark-warehouse")
    repository = Path(__file__).parents[2]
    assert not [name for name in ("spark-warehouse", "metastore_db", "derby.log") if (repository / name).exists()]


def test_its_ports_are_of_this_machine_and_its_key_is_no_argument(spark, spark_state_dir):
    java = server_process(spark_state_dir)
    listening = {c.laddr.ip for c in java.connections(kind="inet") if c.status == psutil.CONN_LISTEN}
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert spark.conf.get("spark.authenticate") == "true"
    assert service_key(SPARK_SERVER) not in " ".join(java.cmdline())


@pytest.mark.parametrize("key", [None, "wrong"])
def test_who_has_no_key_is_refused(spark, key):
    channel = LocalChannel(f"sc://{str(running_service(SPARK_SERVER)).removeprefix('http://')}")
    if key:
        channel.set("authorization", f"Bearer {key}")
    stranger = ConnectSession.builder.channelBuilder(channel).create()
    with pytest.raises(PySparkException, match=r"(?i)auth"):
        stranger.range(1).count()
    stranger.stop()


def test_a_proxy_is_not_asked_for_this_machine(spark, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with spark_session() as session:
        assert session.range(3).count() == 3


def test_what_takes_too_long_is_stopped_and_the_server_goes_on(spark, spark_state_dir, monkeypatch):
    before = server_process(spark_state_dir)
    monkeypatch.setenv("SPARK_TIMEOUT_SECONDS", "1")
    with pytest.raises(ServiceError, match="not done after 1 s"), spark_session() as session:
        session.range(10**15).selectExpr("sum(hash(id))").collect()
    assert server_process(spark_state_dir) == before
    assert spark.range(1000).repartition(4).selectExpr("sum(id)").first()[0] == 499_500


def test_the_benchmark_measures_joins_that_give_the_same_rows(spark, tmp_path):
    table = measure([100], 1000, 1, tmp_path)
    assert table.row_count == 5
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_server_is_used_and_none_is_started(spark, tmp_path, monkeypatch):
    address = str(running_service(SPARK_SERVER)).removeprefix("http://")
    monkeypatch.setenv("SPARK_REMOTE", f"sc://{address}/;authorization=Bearer%20{service_key(SPARK_SERVER)}")
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    assert generate_salaries(10, 1, None)["row_count"] == 10
    assert running_services() == []


def test_sessions_share_no_views_and_no_settings(spark):
    spark.range(3).createOrReplaceTempView("mine")
    spark.conf.set("spark.sql.shuffle.partitions", "7")
    with spark_session() as other:
        assert not other.catalog.tableExists("mine")
        assert other.conf.get("spark.sql.shuffle.partitions") != "7"


def test_a_master_that_spark_does_not_know_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("MASTER", "nonsense")
    message = r"spark_server did not start: .*Master must .*spark_server\.log"
    with pytest.raises(ServiceError, match=message) as raised, spark_session():
        pass
    assert "\n" not in str(raised.value)
    assert stop_services() == []


def test_a_server_that_is_killed_is_said_and_the_next_one_ends_when_idle(spark_state_dir):
    killed = server_process(spark_state_dir)
    said = r"server has ended, see .*spark_server\.log; the next"
    threading.Timer(1, killed.kill).start()
    with pytest.raises(ServiceError, match=said), spark_session() as spark:
        spark.range(10**15).selectExpr("sum(hash(id))").collect()
    ensure_service(SPARK_SERVER, idle_exit_seconds=1)
    server = server_process(spark_state_dir)
    children = server.children()
    psutil.wait_procs([server, *children], 60)
    assert running_service(SPARK_SERVER) is None
    assert not [one for one in (server, *children) if one.is_running()]
