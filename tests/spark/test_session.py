import psutil
import pytest
from pyspark import SparkContext

from workflows.common.errors import ServiceError
from workflows.spark.session import spark_session


def java_children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "java" in child.name()]


def test_its_ports_are_of_this_machine_and_ask_for_a_key(spark_state_dir):
    with spark_session() as spark:
        (java,) = java_children()
        listening = {c.laddr.ip for c in java.connections(kind="inet") if c.status == psutil.CONN_LISTEN}
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
        assert spark.sparkContext.getConf().get("spark.authenticate") == "true"
        assert spark.range(1000).repartition(4).selectExpr("sum(id)").first()[0] == 499_500


def test_what_takes_too_long_is_stopped_and_no_java_is_left(spark_state_dir, monkeypatch):
    monkeypatch.setenv("SPARK_TIMEOUT_SECONDS", "1")
    before = java_children()

    def work() -> None:
        with spark_session(keep=True) as spark:
            assert len(java_children()) == len(before) + 1
            spark.range(10**15).selectExpr("sum(hash(id))").collect()

    with pytest.raises(ServiceError, match="not done after 1 s"):
        work()
    assert java_children() == before
    assert SparkContext._active_spark_context is None


def test_a_session_is_kept_for_the_next_block_and_ends_with_the_last(spark_state_dir, monkeypatch):
    monkeypatch.setenv("SPARK_TIMEOUT_SECONDS", "60")
    before = java_children()
    with spark_session(keep=True) as spark:
        first = spark.sparkContext.applicationId
    assert len(java_children()) == len(before) + 1

    def fail() -> None:
        with spark_session(keep=True) as spark:
            assert spark.sparkContext.applicationId == first
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert java_children() == before


def test_a_master_that_spark_does_not_know_is_one_line(spark_state_dir, monkeypatch):
    monkeypatch.setenv("MASTER", "nonsense")
    with pytest.raises(ServiceError, match=r"did not start: .*Master must .*spark\.log") as raised, spark_session():
        pass
    assert "\n" not in str(raised.value)
    assert java_children() == []
