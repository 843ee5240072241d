"""Starts Spark's JVM from an archive of the classes it loaded last time (JEP 483, 514).

Made once, at set-up, it takes about a third off every short local run. Without it all works the same. It
belongs to the installed Java and Spark, so it is kept with them, in the Python environment.
"""

import sys
from importlib.metadata import version
from pathlib import Path

from workflows.spark.java import Java

OLDEST_JAVA_WITH_CACHE = 25


def start_cache_path(java: Java) -> Path | None:
    """Return where the archive of this Java and this Spark is kept; None where this Java knows none."""
    if java.major is None or java.major < OLDEST_JAVA_WITH_CACHE:
        return None
    return Path(sys.prefix) / "var" / f"spark-{version('pyspark')}-java-{java.major}.aot"


def java_options(java: Java, output: Path | None = None) -> list[str]:
    """Return the options that use the archive where there is one, or that make one at `output`.

    Java itself ignores an archive that fits another Java or class path, and starts without it.
    """
    if output is not None:
        return [f"-XX:AOTCacheOutput={output}"]
    path = start_cache_path(java)
    return [f"-XX:AOTCache={path}"] if path is not None and path.is_file() else []
