"""Match salaries with facts in Spark: the project's keys beside joins, and how the workflow grows.

Run as `python -m benchmarks.bench_spark`. The project writes the key of a fact with each salary, and the facts once; a
broadcast join by that key writes the text of the fact with each salary. Without a key, every salary meets every fact:
as it is, that makes eight rows of each salary; to get the rows of the keyed join, one pair of each salary has to be
chosen. All of them read the same salaries and write parquet, in the same server.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from rich.table import Table

from benchmarks.tables import markdown_table, ratio, show, spread
from stack.console import Console
from workflows.common.local_services import stop_services
from workflows.spark_workflow.facts import fact_table, match, with_fact_keys
from workflows.spark_workflow.salaries import write_salaries
from workflows.spark_workflow.session import spark_session

# As long as the facts of a language model are.
FACTS = [
    f"{number} is the number of a fact that is made up, and as long as one that a model may write"
    for number in range(8)
]
KEYS, KEYED, PAIRS, CHOSEN = (
    "keys, as in the workflow",
    "keyed broadcast join",
    "cross join, all pairs",
    "cross join, one pair of each salary",
)


def keyed_join(spark: SparkSession, salaries: DataFrame, facts: Sequence[str]) -> DataFrame:
    """Return every salary with its fact, in the columns `fact_index` and `fact`."""
    keyed = with_fact_keys(salaries, len(facts))
    return keyed.join(F.broadcast(fact_table(spark, facts)), "fact_index").select(*keyed.columns, "fact")


def cross_join(spark: SparkSession, salaries: DataFrame, facts: Sequence[str]) -> DataFrame:
    """Return every salary with every fact, in the columns `fact_index` and `fact`."""
    return salaries.crossJoin(fact_table(spark, facts))


def chosen_pairs(spark: SparkSession, salaries: DataFrame, facts: Sequence[str]) -> DataFrame:
    """Return the rows of `keyed_join`, chosen among all pairs."""
    pairs = cross_join(spark, salaries, facts)
    wanted = F.pmod(F.xxhash64("employee_id"), F.lit(len(facts)))
    order = F.row_number().over(Window.partitionBy("employee_id").orderBy(F.abs(F.col("fact_index") - wanted)))
    return pairs.withColumn("place", order).where("place = 1").drop("place")


def write_keys(spark: SparkSession, folder: Path, salaries_uri: str) -> None:
    fact_table(spark, FACTS).write.parquet(str(folder / "facts"))
    with_fact_keys(spark.read.parquet(salaries_uri), len(FACTS)).write.parquet(str(folder / "matched"))


def write_join(spark: SparkSession, folder: Path, salaries_uri: str, join: Callable[..., DataFrame]) -> None:
    join(spark, spark.read.parquet(salaries_uri), FACTS).write.parquet(str(folder / "joined"))


def run_workflow(spark: SparkSession, folder: Path, rows: int) -> None:
    """Do what the two Spark blocks of the pipeline do."""
    write_salaries(spark, str(folder / "salaries"), rows, seed=1)
    match(spark, str(folder / "salaries"), FACTS, str(folder / "matched"), str(folder / "facts"))


def timed(work: Callable[[SparkSession, Path], None], folder: Path) -> float:
    """Return the seconds of some work, its session included; what it wrote is removed."""
    folder.mkdir()
    started = time.monotonic()
    with spark_session() as spark:
        work(spark, folder)
    seconds = time.monotonic() - started
    shutil.rmtree(folder)
    return seconds


def measure_joins(rows: int, repeats: int, folder: Path) -> dict[str, list[float]]:
    """Return the seconds of each join, which take turns."""
    uri = str(folder / "salaries")
    with spark_session() as spark:
        write_salaries(spark, uri, rows, seed=1)
        small = spark.read.parquet(uri).limit(10_000)
        if not keyed_join(spark, small, FACTS).exceptAll(chosen_pairs(spark, small, FACTS)).isEmpty():
            raise SystemExit("The joins differ")
    ways = {
        KEYS: partial(write_keys, salaries_uri=uri),
        KEYED: partial(write_join, salaries_uri=uri, join=keyed_join),
        PAIRS: partial(write_join, salaries_uri=uri, join=cross_join),
        CHOSEN: partial(write_join, salaries_uri=uri, join=chosen_pairs),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            found[name].append(timed(work, folder / "run"))
    shutil.rmtree(uri)
    return found


def measure(rows: Sequence[int], join_rows: int, repeats: int, folder: Path) -> Table:
    """Return the table of the joins and of the workflow with some numbers of rows, written to an empty folder."""
    table = markdown_table("what", "rows", "runs", "median s", "spread s", "ratio", "million rows/s")
    joins = measure_joins(join_rows, repeats, folder)
    found = [(name, join_rows, seconds, joins[KEYS]) for name, seconds in joins.items()]
    workflows = {
        count: [timed(partial(run_workflow, rows=count), folder / "run") for _ in range(repeats)] for count in rows
    }
    found += [("both blocks of spark_workflow", count, each, workflows[rows[0]]) for count, each in workflows.items()]
    for name, count, seconds, base in found:
        rate = f"{count / statistics.median(seconds) / 1e6:.2f}"
        table.add_row(name, f"{count:,}", str(len(seconds)), *spread(seconds), ratio(seconds, base), rate)
    return table


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**6, 10**7, 10**8], help="rows of the workflow")
    parser.add_argument("--join-rows", type=int, default=10**7, help="rows of the joins")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="few rows, once: whether all of it works")
    options = parser.parse_args()
    if options.smoke:
        options.rows, options.join_rows, options.repeats = [1000, 10_000], 10_000, 1
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, STATE_DIR=f"{name}/state"):
        try:
            table = measure(options.rows, options.join_rows, options.repeats, Path(name))
        finally:
            stop_services()
    show(table, Console().rich)


if __name__ == "__main__":
    main()
