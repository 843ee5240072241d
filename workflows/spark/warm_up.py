"""Make the archive from which Spark's JVM starts: `python -m workflows.spark.warm_up`, once, at set-up.

It runs both Spark blocks on a few rows, so that the archive holds the classes that they need. Takes about
40 s and 200 MB in the Python environment; does nothing where the archive exists, or where Spark does not run locally.
"""

import logging
import shutil
import tempfile
from pathlib import Path

from workflows.common.errors import WorkflowError
from workflows.common.settings import Settings, get_settings
from workflows.spark.config import uses_local_defaults
from workflows.spark.facts import match
from workflows.spark.java import find_java
from workflows.spark.salaries import write_salaries
from workflows.spark.session import spark_session
from workflows.spark.start_cache import start_cache_path

logger = logging.getLogger(__name__)


def warm_up(settings: Settings) -> Path | None:
    """Make the archive if it can be used and there is none; return where it is, else None.

    Raises:
        ServiceError: Spark does not run here.
    """
    if settings.spark_remote is not None or not uses_local_defaults(settings):
        return None
    path = start_cache_path(find_java(settings))
    if path is None or path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=".warm-up."))
    try:
        archive = folder / path.name
        with spark_session(start_cache_output=archive) as spark:
            salaries_uri = str(folder / "salaries")
            write_salaries(spark, salaries_uri, row_count=1000, seed=1)
            match(spark, salaries_uri, ["a fact"], str(folder / "matched"))
        if not archive.is_file():
            logger.warning("Java left no archive; Spark starts without one")
            return None
        archive.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return path


def main() -> int:
    """Return 0 also where the archive could not be made: Spark works without it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        path = warm_up(get_settings())
    except WorkflowError as error:
        logger.warning("Spark starts without an archive: %s", error)
    else:
        logger.info("Spark starts from %s", path or "its own classes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
