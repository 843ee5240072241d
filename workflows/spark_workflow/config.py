"""Where Spark runs and with which settings: decided by configuration alone, no master in the code.

`SPARK_REMOTE` names a Spark Connect server. Otherwise this machine runs one, as a local service, against the master
that `spark-defaults.conf` in `SPARK_CONF_DIR`, then `MASTER`, name, in Spark's own order; with none of them the jobs
run in that server itself.
"""

import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workflows.common.errors import ServiceError
from workflows.common.settings import Settings

APP_NAME = "mage_workflows"
CONNECT_PORT = 15002
MASTER_PORT = 7077
REACH_TIMEOUT_SECONDS = 5
JAVA_OPTIONS = (
    "-XX:+UseSerialGC",
    # The heap stays near what is in use: 0.9 GB of memory after ten million rows, with Java's defaults 1.5 GB.
    "-XX:MinHeapFreeRatio=20",
    "-XX:MaxHeapFreeRatio=40",
    # The second compiler comes ten times later than by default: a start and short jobs take a third less CPU time,
    # ten million rows up to twice the time. Without it, these take twice as long again.
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)


def configured_master(settings: Settings) -> str | None:
    """Return the master that configuration names, or None: then Spark takes local[*] by itself."""
    return read_spark_defaults(settings).get("spark.master") or settings.master


def conf_folder(settings: Settings) -> Path | None:
    """Return the folder that Spark reads its configuration from, None where nothing names one."""
    folder = settings.spark_conf_dir or (settings.spark_home / "conf" if settings.spark_home else None)
    return folder.expanduser() if folder else None


def read_spark_defaults(settings: Settings) -> dict[str, str]:
    """Return the settings in `spark-defaults.conf`, empty where there is no such file."""
    folder = conf_folder(settings)
    if folder is None:
        return {}
    try:
        text = (folder / "spark-defaults.conf").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    lines = (line.strip() for line in text.splitlines())
    # A Java properties file: key and value are parted by blanks, = or :
    found = (re.match(r"([^\s=:]+)\s*[=:\s]\s*(.*)", line) for line in lines if not line.startswith("#"))
    return {match[1]: match[2] for match in found if match}


def uses_local_defaults(settings: Settings) -> bool:
    """Whether this is a local run whose settings are ours to choose.

    A `spark-env.sh` may name a master or an address where this process cannot see it: hands off.
    """
    folder = settings.spark_conf_dir
    if folder is not None and (folder.expanduser() / "spark-env.sh").exists():
        return False
    master = configured_master(settings)
    return master is None or re.fullmatch(r"local(\[.*\])?", master) is not None


def server_settings(settings: Settings, port: int) -> dict[str, str]:
    """Return the settings to start the Connect server with; what the user's own configuration sets is left out.

    Args:
        settings: Says where the jobs run.
        port: Where clients of this machine reach the server.
    """
    fixed = {"spark.connect.grpc.binding.address": "127.0.0.1", "spark.connect.grpc.binding.port": str(port)}
    ours = {
        "spark.app.name": APP_NAME,
        "spark.log.level": "WARN",
        # It asks nobody for a key, and can end jobs.
        "spark.ui.enabled": "false",
    }
    if uses_local_defaults(settings):
        ours |= {
            # Other users of the machine reach 127.0.0.1 too: the ports for its own parts ask for a key of theirs.
            "spark.authenticate": "true",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.extraJavaOptions": " ".join(
                (*JAVA_OPTIONS, f'"-Djava.io.tmpdir={scratch_folder(settings)}"')
            ),
            "spark.driver.host": "127.0.0.1",
            # Hadoop sets the modes of its files itself, whatever the process's umask says.
            "spark.hadoop.fs.permissions.umask-mode": "077",
            "spark.sql.shuffle.partitions": str(os.cpu_count() or 2),
            "spark.sql.warehouse.dir": str(settings.state_dir / "spark-warehouse"),
        }
    else:
        # A server that has nothing to do leaves the cluster to others.
        ours["spark.dynamicAllocation.enabled"] = "true"
    theirs = read_spark_defaults(settings)
    if "spark.executor.instances" in theirs:
        ours.pop("spark.dynamicAllocation.enabled", None)
    return {name: value for name, value in ours.items() if name not in theirs} | fixed


def scratch_folder(settings: Settings) -> Path:
    """Return where the server of this machine keeps its temporary files; it does not remove all of them at its end."""
    return settings.state_dir / "spark-scratch"


def server_environment(settings: Settings, java_home: Path, spark_home: Path) -> dict[str, str]:
    """Return the variables that Spark's scripts read, also those that were set in `.env` only."""
    chosen: dict[str, Any] = {
        "JAVA_HOME": java_home,
        "SPARK_HOME": spark_home,
        "SPARK_CONF_DIR": settings.spark_conf_dir,
        "MASTER": settings.master,
        # Spares a look-up of the machine's own name, which fails on some machines without a network.
        "SPARK_LOCAL_IP": "127.0.0.1" if uses_local_defaults(settings) else None,
    }
    return {name: str(value) for name, value in chosen.items() if value is not None}


def check_reachable(settings: Settings) -> None:
    """Fail at once, in one line, where the server that configuration names does not answer.

    Spark and its Connect client would try for a minute or more and then fail with a page of traces.

    Raises:
        ServiceError: names the address and the variable.
    """
    if settings.spark_remote is not None:
        if settings.master is not None:
            raise ServiceError("Both SPARK_REMOTE and MASTER are set; keep the one that says where Spark runs")
        if not settings.spark_remote.startswith("sc://"):
            raise ServiceError("SPARK_REMOTE must be the address of a Spark Connect server, sc://host:port")
        _check_any_answers("the Spark Connect server", [settings.spark_remote], CONNECT_PORT, "SPARK_REMOTE")
        return
    master = configured_master(settings) or ""
    if master.startswith("spark://"):
        urls = [f"spark://{part}" for part in master.removeprefix("spark://").split(",")]
        _check_any_answers("the Spark master", urls, MASTER_PORT, "MASTER or SPARK_CONF_DIR")


def describe(settings: Settings) -> str:
    """Return where Spark runs, for messages and summaries; never the token of an address."""
    if settings.spark_remote is not None:
        return f"sc://{_host_and_port(settings.spark_remote, CONNECT_PORT)}"
    return configured_master(settings) or "local[*]"


def _check_any_answers(what: str, urls: list[str], default_port: int, variable: str) -> None:
    reasons = []
    for url in urls:
        address = _host_and_port(url, default_port)
        host, port = address.rsplit(":", 1)
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH_TIMEOUT_SECONDS).close()
        except OSError as error:
            reasons.append(f"{address} ({error.strerror or error})")
        else:
            return
    raise ServiceError(
        f"Cannot reach {what} at {', '.join(reasons)}: start it, or correct {variable}; "
        "with none set Spark runs on this machine"
    )


def _host_and_port(url: str, default_port: int) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or default_port
    except ValueError:
        host, port = None, 0
    if not host:
        scheme = url.split("://", maxsplit=1)[0]
        raise ServiceError(f"The address of Spark is not of the form {scheme}://host:port")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
