"""Starts Spark's JVM from an archive of the classes it loaded last time (JEP 483, 514).

Made once, at set-up, it takes about a third off every short local run. Without it all works the same.
"""

from importlib.metadata import version
from pathlib import Path

from workflows.settings import Settings
from workflows.spark.java import Java

OLDEST_JAVA_WITH_CACHE = 25


def start_cache_path(settings: Settings, java: Java) -> Path | None:
    """Return where the archive of this Java and this Spark is kept; None where this Java knows none."""
    if java.major is None or java.major < OLDEST_JAVA_WITH_CACHE:
        return None
    return settings.state_dir / "java" / f"spark-{version('pyspark')}-java-{java.major}.aot"


def java_options(settings: Settings, java: Java, output: Path | None = None) -> list[str]:
    """Return the options that use the archive where there is one, or that make one at `output`.

    Java itself ignores an archive that fits another Java or class path, and starts without it.
    """
    if output is not None:
        return [f"-XX:AOTCacheOutput={output}"]
    path = start_cache_path(settings, java)
    return [f"-XX:AOTCache={path}"] if path is not None and path.is_file() else []
