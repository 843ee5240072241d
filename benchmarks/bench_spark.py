"""Match salaries with facts in Spark: the project's keyed join beside cross joins, and how the workflow grows.

Run as `python -m benchmarks.bench_spark`. Without a key, every salary meets every fact: as it is, that makes eight rows
of each salary; to get the rows of the keyed join, one pair of each salary has to be chosen. All of them read the same
salaries and write parquet, in the same server.
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

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from rich.table import Table

from stack.console import Console
from workflows.common.local_services import stop_services
from workflows.spark.facts import join_facts, match
from workflows.spark.salaries import write_salaries
from workflows.spark.session import spark_session

FACTS = [f"Fact number {number}" for number in range(8)]
KEYED, PAIRS, CHOSEN = "keyed broadcast join", "cross join, all pairs", "cross join, one pair of each salary"


def cross_join(spark: SparkSession, salaries: DataFrame, facts: Sequence[str]) -> DataFrame:
    """Return every salary with every fact, in the columns `fact_index` and `fact`."""
    columns = {"fact_index": pa.array(range(len(facts)), pa.int32()), "fact": pa.array(facts, pa.string())}
    return salaries.crossJoin(spark.createDataFrame(pa.table(columns)))


def chosen_pairs(spark: SparkSession, salaries: DataFrame, facts: Sequence[str]) -> DataFrame:
    """Return the rows of `join_facts`, chosen among all pairs."""
    pairs = cross_join(spark, salaries, facts)
    wanted = F.pmod(F.xxhash64("employee_id"), F.lit(len(facts)))
    order = F.row_number().over(Window.partitionBy("employee_id").orderBy(F.abs(F.col("fact_index") - wanted)))
    return pairs.withColumn("place", order).where("place = 1").drop("place")


def write_join(spark: SparkSession, join: Callable[..., DataFrame], salaries_uri: str, folder: Path) -> None:
    join(spark, spark.read.parquet(salaries_uri), FACTS).write.parquet(str(folder / "joined"))


def run_workflow(spark: SparkSession, rows: int, folder: Path) -> None:
    """Do what the two Spark blocks of the pipeline do."""
    write_salaries(spark, str(folder / "salaries"), rows, seed=1)
    match(spark, str(folder / "salaries"), FACTS, str(folder / "matched"))


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
        if not join_facts(spark, small, FACTS).exceptAll(chosen_pairs(spark, small, FACTS)).isEmpty():
            raise SystemExit("The joins differ")
    found: dict[str, list[float]] = {KEYED: [], PAIRS: [], CHOSEN: []}
    for _ in range(repeats):
        for name, join in ((KEYED, join_facts), (PAIRS, cross_join), (CHOSEN, chosen_pairs)):
            work = partial(write_join, join=join, salaries_uri=uri)
            found[name].append(timed(lambda spark, to, work=work: work(spark, folder=to), folder / "run"))
    shutil.rmtree(uri)
    return found


def add_row(table: Table, name: str, rows: int, seconds: Sequence[float], base: float) -> None:
    median = statistics.median(seconds)
    figures = (f"{median:.1f}", f"{min(seconds):.1f}", f"{max(seconds):.1f}", f"{median / base:.1f}")
    table.add_row(name, f"{rows:,}", str(len(seconds)), *figures, f"{rows / median / 1e6:.2f}")


def measure(rows: Sequence[int], join_rows: int, repeats: int, folder: Path) -> Table:
    """Return the table of the joins and of the workflow with some numbers of rows, written to an empty folder."""
    table = Table("what", "rows", "runs", "median s", "fastest s", "slowest s", "ratio", "million rows/s", box=None)
    joins = measure_joins(join_rows, repeats, folder)
    for name, seconds in joins.items():
        add_row(table, name, join_rows, seconds, statistics.median(joins[KEYED]))
    base = None
    for count in rows:
        work = partial(run_workflow, rows=count)
        seconds = [timed(lambda spark, to, work=work: work(spark, folder=to), folder / "run") for _ in range(repeats)]
        base = base or statistics.median(seconds)
        add_row(table, "both blocks of spark_workflow", count, seconds, base)
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
    Console().rich.print(table)


if __name__ == "__main__":
    main()
