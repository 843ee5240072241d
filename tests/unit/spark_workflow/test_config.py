import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflows.common.errors import ServiceError
from workflows.common.settings import Settings
from workflows.spark_workflow.config import (
    check_reachable,
    configured_master,
    describe,
    read_spark_defaults,
    server_environment,
    server_settings,
    uses_local_defaults,
)


@pytest.fixture(autouse=True)
def _no_spark_variables(monkeypatch):
    for name in ("MASTER", "SPARK_REMOTE", "SPARK_CONF_DIR", "SPARK_HOME", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def open_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def settings_with(**values: object) -> Settings:
    return Settings(_env_file=None, **values)


def conf_dir(tmp_path: Path, text: str) -> Path:
    (tmp_path / "spark-defaults.conf").write_text(text)
    return tmp_path


def test_spark_defaults_are_read_as_spark_reads_them(tmp_path):
    text = "# spark.master no\n\nspark.master   spark://a:7077\nspark.x=1 2\n spark.y : z\nspark.empty\n"
    settings = settings_with(spark_conf_dir=conf_dir(tmp_path, text))
    assert read_spark_defaults(settings) == {"spark.master": "spark://a:7077", "spark.x": "1 2", "spark.y": "z"}


def test_the_configuration_file_comes_before_the_variable(tmp_path):
    assert configured_master(settings_with()) is None
    assert configured_master(settings_with(master="local[1]")) == "local[1]"
    settings = settings_with(master="local[1]", spark_conf_dir=conf_dir(tmp_path, "spark.master yarn\n"))
    assert configured_master(settings) == "yarn"


@pytest.mark.parametrize(
    ("master", "is_ours"),
    [(None, True), ("local", True), ("local[4]", True), ("local-cluster[2,1,1024]", False), ("spark://a:1", False)],
)
def test_only_local_runs_are_tuned(tmp_path, master, is_ours):
    settings = settings_with(master=master, state_dir=tmp_path)
    assert uses_local_defaults(settings) is is_ours
    assert ("spark.driver.host" in server_settings(settings, 1)) is is_ours
    assert ("spark.dynamicAllocation.enabled" in server_settings(settings, 1)) is not is_ours
    assert ("SPARK_LOCAL_IP" in server_environment(settings, tmp_path, tmp_path)) is is_ours
    assert "spark.master" not in server_settings(settings, 1)


def test_a_spark_env_file_is_left_alone(tmp_path):
    (tmp_path / "spark-env.sh").write_text("MASTER=spark://elsewhere:7077\n")
    assert not uses_local_defaults(settings_with(spark_conf_dir=tmp_path))


def test_a_setting_of_the_user_wins(tmp_path):
    settings = settings_with(spark_conf_dir=conf_dir(tmp_path, "spark.ui.enabled true\n"), state_dir=tmp_path)
    assert "spark.ui.enabled" not in server_settings(settings, 1)


def test_executors_that_the_user_counted_stay(tmp_path):
    text = "spark.master yarn\nspark.executor.instances 4\n"
    settings = settings_with(spark_conf_dir=conf_dir(tmp_path, text))
    assert "spark.dynamicAllocation.enabled" not in server_settings(settings, 1)


def test_the_server_listens_on_this_machine_whatever_the_file_says(tmp_path):
    text = "spark.connect.grpc.binding.address 0.0.0.0\nspark.connect.grpc.binding.port 15002\n"
    made = server_settings(settings_with(spark_conf_dir=conf_dir(tmp_path, text)), 1234)
    assert made["spark.connect.grpc.binding.address"] == "127.0.0.1"
    assert made["spark.connect.grpc.binding.port"] == "1234"


def test_spark_gets_what_only_the_settings_know(tmp_path):
    settings = settings_with(master="spark://a:1", spark_conf_dir=tmp_path)
    assert server_environment(settings, Path("/java"), Path("/spark")) == {
        "JAVA_HOME": "/java",
        "SPARK_HOME": "/spark",
        "SPARK_CONF_DIR": str(tmp_path),
        "MASTER": "spark://a:1",
    }


def test_a_master_that_does_not_answer_is_named(closed_port):
    with pytest.raises(ServiceError, match=rf"Cannot reach the Spark master at 127\.0\.0\.1:{closed_port} .*MASTER"):
        check_reachable(settings_with(master=f"spark://127.0.0.1:{closed_port}"))


def test_one_of_several_masters_is_enough(open_port, closed_port):
    check_reachable(settings_with(master=f"spark://127.0.0.1:{closed_port},127.0.0.1:{open_port}"))


def test_a_connect_server_that_does_not_answer_is_named_without_the_token(closed_port):
    settings = settings_with(spark_remote=f"sc://127.0.0.1:{closed_port}/;token=geheim")
    with pytest.raises(ServiceError, match=rf"Spark Connect server at 127\.0\.0\.1:{closed_port} ") as raised:
        check_reachable(settings)
    assert "geheim" not in str(raised.value) + describe(settings)


def test_a_connect_server_that_answers_passes(open_port):
    check_reachable(settings_with(spark_remote=f"sc://127.0.0.1:{open_port}"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"spark_remote": "sc://a", "master": "local"}, "Both SPARK_REMOTE and MASTER"),
        ({"spark_remote": "localhost:15002"}, "sc://host:port"),
        ({"spark_remote": "sc://:15002"}, "not of the form sc://host:port"),
        ({"master": "spark://a:port"}, "not of the form spark://host:port"),
    ],
)
def test_a_wrong_address_is_said(values, message):
    with pytest.raises(ServiceError, match=message):
        check_reachable(settings_with(**values))


def test_local_needs_no_server():
    check_reachable(settings_with())
    check_reachable(settings_with(master="local[2]"))
