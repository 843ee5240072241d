from workflows.spark_workflow import salaries

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def generate_salaries(*args, **kwargs):
    """Make salaries in Spark, some of them missing, write them as parquet, and tell where."""
    return salaries.generate_salaries(
        kwargs.get("salary_rows", 100_000), kwargs.get("salary_seed", 1), kwargs.get("pipeline_run_id")
    )


@test
def test_some_salaries_are_missing(output, *args):
    assert 0 <= output["missing_salary_count"] < output["row_count"]
