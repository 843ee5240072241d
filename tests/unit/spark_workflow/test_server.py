import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workflows.common.settings import get_settings
from workflows.spark_workflow.server import content_id, is_healthy, spark_home


@pytest.fixture(autouse=True)
def _java(tmp_path, monkeypatch):
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))


def test_another_master_java_or_configuration_is_another_server(tmp_path, monkeypatch):
    found = [content_id(), content_id()]
    assert len(set(found)) == 1
    monkeypatch.setenv("MASTER", "spark://host:7077")
    found.append(content_id())
    assert found[-1].startswith("spark://host:7077 ")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    found.append(content_id())
    for name in ("spark-defaults.conf", "core-site.xml"):
        for text in ("password 1", "password 2"):
            (tmp_path / name).write_text(text)
            found.append(content_id())
    other = tmp_path / "other" / "bin" / "java"
    other.parent.mkdir(parents=True)
    other.touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "other"))
    found.append(content_id())
    assert len(set(found)) == len(found) - 1
    assert "password" not in "".join(found)


def test_spark_is_the_package_unless_a_folder_is_named(monkeypatch):
    assert (spark_home(get_settings()) / "bin" / "spark-submit").is_file()
    monkeypatch.setenv("SPARK_HOME", "/opt/spark")
    assert spark_home(get_settings()) == Path("/opt/spark")


@pytest.mark.parametrize(
    ("answer", "is_one"),
    [
        (bytes((0, 0, 18, 4, 0, 0, 0, 0, 0)), True),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"", False),
    ],
)
def test_only_http2_is_healthy(answer, is_one):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert is_healthy(url) is is_one
        thread.join()
    assert not is_healthy(url)


# A server that starts to listen late, and a child that watches it.
IDLE_SERVER = """
import os, psutil, socket, time
from workflows.spark_workflow import server
server.POLL_SECONDS = 0.05
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
parent = psutil.Process()
if os.fork() == 0:
    server.end_when_idle(parent, listener.getsockname()[1], 0.5)
    os._exit(0)
time.sleep(1)
listener.listen()
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
time.sleep(60)
"""


def test_it_ends_without_clients_but_neither_before_it_listens_nor_while_one_is_connected():
    with subprocess.Popen([sys.executable, "-c", IDLE_SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)), pytest.raises(subprocess.TimeoutExpired):
            server.wait(1.5)
        assert server.wait(20) == -15
