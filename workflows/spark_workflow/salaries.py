"""Made-up salaries, made by Spark: the same rows for the same seed, on any number of executors."""

import logging
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from workflows.common.errors import ServiceError
from workflows.common.parsing import whole_number
from workflows.common.settings import get_settings
from workflows.spark_workflow.datasets import new_dataset_uri, remove_old_datasets
from workflows.spark_workflow.session import spark_session

logger = logging.getLogger(__name__)

MAX_ROWS = 100_000_000
MISSING_SHARE = 0.05
RAISE_PER_LEVEL = 1.3
JOB_LEVELS = 5
SPREAD = 0.15
# Yearly, US dollars, at job level 1.
BASE_SALARY_USD = {
    "engineering": 88_000,
    "finance": 72_000,
    "legal": 84_000,
    "marketing": 61_000,
    "operations": 54_000,
    "people": 57_000,
    "sales": 59_000,
    "support": 46_000,
}


def generate_salaries(row_count: object, seed: object, pipeline_run_id: int | None) -> dict[str, Any]:
    """Make salaries and write them as parquet, at an address of this execution alone.

    Args:
        row_count: Number of rows, 1 to 100,000,000; a whole number, digits in a text too.
        seed: Whole number: other rows for another seed.
        pipeline_run_id: Id of the pipeline run, None outside of a run.

    Returns:
        `salaries_uri`, `row_count`, `missing_salary_count`, `mean_salary_usd`, `seed`.

    Raises:
        InvalidInputError: names the variable that is wrong.
        ServiceError: Spark is not there, failed, or wrote what it cannot read back.
    """
    rows = whole_number("salary_rows", row_count, 1, MAX_ROWS)
    seed_number = whole_number("salary_seed", seed, 0, 2**31 - 1)
    settings = get_settings()
    remove_old_datasets(settings)
    uri = new_dataset_uri(settings, "salaries", pipeline_run_id)
    with spark_session() as spark:
        return {**write_salaries(spark, uri, rows, seed_number), "seed": seed_number}


def write_salaries(spark: SparkSession, uri: str, row_count: int, seed: int) -> dict[str, Any]:
    """Write salaries to an address that is free, read them back, and return the summary of what is there."""

    make_salaries(spark, row_count, seed).write.parquet(uri)
    written = (
        spark.read.parquet(uri)
        .agg(
            F.count("*").alias("rows"),
            F.count("salary_usd").alias("salaries"),
            F.avg("salary_usd").alias("mean"),
        )
        .first()
    )
    found = 0 if written is None else int(written["rows"])
    if written is None or found != row_count:
        raise ServiceError(
            f"Spark wrote {row_count} salaries to {uri} and reads {found} of them: "
            "SPARK_DATA_URI must be storage that all executors share"
        )
    logger.info("Wrote %s salaries to %s", found, uri)
    return {
        "salaries_uri": uri,
        "row_count": found,
        "missing_salary_count": found - int(written["salaries"]),
        "mean_salary_usd": None if written["mean"] is None else round(float(written["mean"]), 2),
    }


def make_salaries(spark: SparkSession, row_count: int, seed: int) -> DataFrame:
    """Return one row per employee; nothing is computed yet.

    Columns: `employee_id` (from 1, unique), `department`, `job_level` (1 to 5, low ones more often),
    `salary_usd` (yearly, whole hundreds; missing for about 5 %). All are hashes of the employee's number and the
    seed, so that they depend neither on partitions nor on the number of rows.
    """

    def uniform(purpose: str) -> Column:
        """Return a number in (0, 1)."""
        hashed = F.pmod(F.xxhash64("employee_id", F.lit(seed), F.lit(purpose)), F.lit(2**31))
        return (hashed + F.lit(0.5)) / F.lit(float(2**31))

    departments = F.array(*[F.lit(name) for name in BASE_SALARY_USD])
    bases = F.array(*[F.lit(salary) for salary in BASE_SALARY_USD.values()])
    department_index = F.floor(uniform("department") * F.lit(len(BASE_SALARY_USD))).cast("int") + F.lit(1)
    job_level = F.floor(F.pow(uniform("job_level"), F.lit(2.0)) * F.lit(JOB_LEVELS)).cast("int") + F.lit(1)
    # Box-Muller: two uniform numbers make a normal one.
    normal = F.sqrt(F.lit(-2.0) * F.log(uniform("radius"))) * F.cos(uniform("angle") * F.lit(6.283185307179586))
    salary = (
        F.element_at(bases, department_index)
        * F.pow(F.lit(RAISE_PER_LEVEL), job_level - F.lit(1))
        * F.exp(normal * F.lit(SPREAD))
    )
    whole_hundreds = (F.round(salary / F.lit(100)) * F.lit(100)).cast("int")
    return (
        spark.range(1, row_count + 1)
        .select(F.col("id").alias("employee_id"))
        .select(
            "employee_id",
            F.element_at(departments, department_index).alias("department"),
            job_level.alias("job_level"),
            F.when(uniform("missing") >= F.lit(MISSING_SHARE), whole_hundreds).alias("salary_usd"),
        )
    )
