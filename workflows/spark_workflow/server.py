"""A Spark Connect server for all blocks and runs: `python -m workflows.spark_workflow.server --port PORT ...`.

It listens on 127.0.0.1 and asks for the key. Its jobs run in the server itself, or on the master that the settings
name. The process becomes Spark's JVM, so that there is one process to watch and to end.
"""

import hashlib
import importlib.util
import logging
import os
import shutil
import socket
import time
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from workflows.common.local_services import LocalService, service_arguments
from workflows.common.settings import Settings, get_settings
from workflows.spark_workflow.config import conf_folder, describe, scratch_folder, server_environment, server_settings
from workflows.spark_workflow.java import find_java

logger = logging.getLogger(__name__)

SERVER_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
# Spark takes the key from here; other users of the machine can read arguments, but not variables.
KEY_VARIABLE = "SPARK_CONNECT_AUTHENTICATE_TOKEN"
# They would make the server a client.
CLIENT_VARIABLES = ("SPARK_REMOTE", "SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE_ENABLED")
POLL_SECONDS = 2.0
# The start of a connection in HTTP/2 (RFC 9113, 3.4), an empty frame of settings, and the type of such a frame.
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS_FRAME = 4


def content_id() -> str:
    """Return what the settings have the server be: where it runs, and a digest of all that it was started with.

    Raises:
        ServiceError: there is no Java.
    """
    settings = get_settings()
    environment = server_environment(settings, find_java(settings).home, spark_home(settings))
    parts = [version("pyspark"), sorted(environment.items()), sorted(server_settings(settings, 0).items())]
    digest = hashlib.sha256(repr(parts).encode())
    folder = conf_folder(settings)
    for path in sorted(folder.iterdir()) if folder and folder.is_dir() else []:
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return f"{describe(settings)} with settings {digest.hexdigest()[:12]}"


def is_healthy(url: str) -> bool:
    """Whether a gRPC server answers at this URL."""
    address = urlsplit(url)
    try:
        with socket.create_connection((str(address.hostname), address.port or 0), timeout=2) as connection:
            connection.sendall(HTTP2_PREFACE)
            answer = connection.recv(9)
    except OSError:
        return False
    return len(answer) == 9 and answer[3] == SETTINGS_FRAME


def spark_home(settings: Settings) -> Path:
    """Return the folder of the Spark installation: the user's, else that of the Python package."""
    if settings.spark_home is not None:
        return settings.spark_home.expanduser()
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pyspark is not installed")
    return Path(spec.origin).parent


def main() -> None:
    """Become the server; with a time limit, a child process asks it to end when no client was there for so long."""
    arguments = service_arguments(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")

    settings = get_settings()
    scratch = scratch_folder(settings)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    home = spark_home(settings)
    command = [str(home / "bin" / "spark-submit"), "--class", SERVER_CLASS]
    for name, value in server_settings(settings, arguments.port).items():
        command += ["--conf", f"{name}={value}"]
    # Spark takes an empty variable for a value.
    environment = {name: value for name, value in os.environ.items() if value and name not in CLIENT_VARIABLES}
    environment |= server_environment(settings, find_java(settings).home, home)
    environment[KEY_VARIABLE] = arguments.key
    server = psutil.Process()
    if arguments.idle_exit_seconds and os.fork() == 0:
        end_when_idle(server, arguments.port, arguments.idle_exit_seconds)
        os._exit(0)
    os.execve(command[0], command, environment)


def end_when_idle(server: psutil.Process, port: int, seconds: float) -> None:
    """Ask the server, which is the parent of this process, to end once no client was connected for some seconds."""
    last_client = time.monotonic()
    while os.getppid() == server.pid:
        time.sleep(POLL_SECONDS)
        try:
            statuses = [one.status for one in server.connections(kind="tcp") if one.laddr.port == port]
        except psutil.Error:
            continue
        if psutil.CONN_LISTEN not in statuses or psutil.CONN_ESTABLISHED in statuses:
            last_client = time.monotonic()
        elif time.monotonic() - last_client >= seconds:
            logger.info("Ends after %.0f s without a client", seconds)
            server.terminate()
            return


SPARK_SERVER = LocalService("spark_server", "workflows.spark_workflow.server", content_id, is_healthy)


if __name__ == "__main__":
    main()
