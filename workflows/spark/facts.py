"""Matches each salary with a fun fact."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.common.settings import get_settings
from workflows.spark.datasets import new_dataset_uri
from workflows.spark.session import spark_session

logger = logging.getLogger(__name__)

SUMMARY_COLUMNS = ["fact", "employee_count", "missing_salary_count", "mean_salary_usd", "matched_uri"]


def check_fun_facts(variables: Mapping[str, Any]) -> list[str]:
    """Return the runtime variable `fun_facts`: a list of texts, which may be empty.

    Raises:
        InvalidInputError: it is missing, no list, or holds something else than text; the message says which item.
    """
    problem = "The salaries cannot be matched with facts"
    facts = variables.get("fun_facts")
    if facts is None:
        reason = "is missing: give the run a list of texts; dynamic_blocks_workflow does when it starts this one"
        raise InvalidInputError(problem, {"fun_facts": reason})
    if not isinstance(facts, list | tuple):
        reason = f"must be a list of texts, and is a {type(facts).__name__}: {facts!r:.80}"
        raise InvalidInputError(problem, {"fun_facts": reason})
    wrong = {
        f"fun_facts[{index}]": f"must be text, and is {fact!r:.80}"
        for index, fact in enumerate(facts)
        if not isinstance(fact, str) or not _is_unicode(fact)
    }
    if wrong:
        first = dict(list(wrong.items())[:5])
        raise InvalidInputError(f"{problem}: {len(wrong)} of {len(facts)} facts are not text", first)
    return list(facts)


def match_salaries_with_facts(salaries: object, facts: object, pipeline_run_id: int | None) -> pd.DataFrame:
    """Give each salary a fact, write the result as parquet, and return a summary by fact.

    Args:
        salaries: Output of `generate_salaries`.
        facts: Output of `load_fun_facts`.
        pipeline_run_id: Id of the pipeline run, None outside of a run.

    Returns:
        One row per fact, in their order; one row with a missing fact where there are no facts. Columns: `fact`,
        `employee_count`, `missing_salary_count`, `mean_salary_usd`, `matched_uri` (where the rows are).

    Raises:
        NotReadyError: an input is missing, because the block was run alone.
        ServiceError: Spark is not there, failed, or the salaries are gone.
    """
    if not isinstance(salaries, Mapping) or not isinstance(facts, Mapping):
        raise NotReadyError(
            "There are no salaries or facts to match: run the blocks generate_salaries and load_fun_facts first"
        )
    uri = new_dataset_uri(get_settings(), "matched_salaries", pipeline_run_id)
    with spark_session() as spark:
        return match(spark, salaries["salaries_uri"], facts["fun_facts"], uri)


def match(spark: SparkSession, salaries_uri: str, facts: Sequence[str], uri: str) -> pd.DataFrame:
    """Write salaries with their facts to an address that is free, and return the summary read back from there."""

    join_facts(spark, spark.read.parquet(salaries_uri), facts).write.parquet(uri)
    rows = (
        spark.read.parquet(uri)
        .groupBy("fact_index", "fact")
        .agg(
            F.count("*").alias("employees"),
            F.count("salary_usd").alias("salaries"),
            F.avg("salary_usd").alias("mean"),
        )
        .collect()
    )
    ordered = sorted(rows, key=lambda row: -1 if row["fact_index"] is None else row["fact_index"])
    summary = [
        (row["fact"], row["employees"], row["employees"] - row["salaries"], _rounded(row["mean"]), uri)
        for row in ordered
    ]
    logger.info("Matched the salaries with %s facts, in %s", len(facts), uri)
    return pd.DataFrame(summary, columns=SUMMARY_COLUMNS)


def join_facts(spark: SparkSession, salaries: DataFrame, facts: Sequence[str]) -> DataFrame:
    """Return the salaries with the columns `fact_index` and `fact`; nothing is computed yet.

    An employee gets the fact whose index is a hash of the employee's number, modulo the number of facts: the
    same one at every run, and about as many employees for each. The facts are sent to every executor,
    so that the salaries stay where they are. No facts: both columns are missing.
    """

    if not facts:
        missing_index, missing_fact = F.lit(None).cast("int"), F.lit(None).cast("string")
        return salaries.withColumns({"fact_index": missing_index, "fact": missing_fact})
    # Through Arrow: no Python is needed on the executors.
    columns = {"fact_index": pa.array(range(len(facts)), pa.int32()), "fact": pa.array(facts, pa.string())}
    fact_table = spark.createDataFrame(pa.table(columns))
    fact_index = F.pmod(F.xxhash64("employee_id"), F.lit(len(facts))).cast("int")
    keyed = salaries.withColumn("fact_index", fact_index)
    return keyed.join(F.broadcast(fact_table), "fact_index", "left").select(*salaries.columns, "fact_index", "fact")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _is_unicode(text: str) -> bool:
    """Whether the text can be written: half a surrogate pair, which JSON lets through, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
