"""Matches each salary with a fun fact: the salary gets its fact's number, and the facts are stored once."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.common.settings import get_settings
from workflows.spark_workflow.datasets import new_dataset_uri
from workflows.spark_workflow.session import spark_session

logger = logging.getLogger(__name__)

SUMMARY_COLUMNS = ["fact", "employee_count", "missing_salary_count", "mean_salary_usd", "matched_uri", "facts_uri"]


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
    """Give each salary a fact, write both as parquet, and return a summary by fact.

    Args:
        salaries: Output of `generate_salaries`.
        facts: Output of `load_fun_facts`.
        pipeline_run_id: Id of the pipeline run, None outside of a run.

    Returns:
        One row per fact, in their order; one row with a missing fact where there are no facts. Columns: `fact`,
        `employee_count`, `missing_salary_count`, `mean_salary_usd`, `matched_uri` and `facts_uri` (where the rows and
        the facts are).

    Raises:
        NotReadyError: an input is missing, because the block was run alone.
        ServiceError: Spark is not there, failed, or the salaries are gone.
    """
    if not isinstance(salaries, Mapping) or not isinstance(facts, Mapping):
        raise NotReadyError(
            "There are no salaries or facts to match: run the blocks generate_salaries and load_fun_facts first"
        )
    settings = get_settings()
    matched_uri = new_dataset_uri(settings, "matched_salaries", pipeline_run_id)
    facts_uri = new_dataset_uri(settings, "facts", pipeline_run_id)
    with spark_session() as spark:
        return match(spark, salaries["salaries_uri"], facts["fun_facts"], matched_uri, facts_uri)


def match(
    spark: SparkSession, salaries_uri: str, facts: Sequence[str], matched_uri: str, facts_uri: str
) -> pd.DataFrame:
    """Write facts, and salaries with the keys of their facts, to free addresses; return the summary read back."""
    fact_table(spark, facts).write.parquet(facts_uri)
    with_fact_keys(spark.read.parquet(salaries_uri), len(facts)).write.parquet(matched_uri)
    rows = (
        spark.read.parquet(matched_uri)
        .groupBy("fact_index")
        .agg(
            F.count("*").alias("employees"),
            F.count("salary_usd").alias("salaries"),
            F.avg("salary_usd").alias("mean"),
        )
        .orderBy("fact_index")
        .collect()
    )
    summary = [
        (
            None if row["fact_index"] is None else facts[row["fact_index"]],
            row["employees"],
            row["employees"] - row["salaries"],
            _rounded(row["mean"]),
            matched_uri,
            facts_uri,
        )
        for row in rows
    ]
    logger.info("Matched the salaries with %s facts, in %s", len(facts), matched_uri)
    return pd.DataFrame(summary, columns=SUMMARY_COLUMNS)


def fact_table(spark: SparkSession, facts: Sequence[str]) -> DataFrame:
    """Return the facts in the columns `fact_index` (from 0, unique) and `fact`."""
    return spark.createDataFrame(list(enumerate(facts)), "fact_index int, fact string")


def with_fact_keys(salaries: DataFrame, fact_count: int) -> DataFrame:
    """Return the salaries with the column `fact_index`; nothing is computed yet.

    It is a hash of the employee's number, modulo the number of facts: the same one at every run, and about as many
    employees for each fact. The salaries stay where they are, and no text is written a million times.
    No facts: the column is missing in every row.
    """
    index = F.pmod(F.xxhash64("employee_id"), F.lit(fact_count)) if fact_count else F.lit(None)
    return salaries.withColumn("fact_index", index.cast("int"))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _is_unicode(text: str) -> bool:
    """Whether the text can be written: half a surrogate pair, which JSON lets through, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
