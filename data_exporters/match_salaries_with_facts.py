from workflows.spark_workflow import facts

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def match_salaries_with_facts(generated_salaries, loaded_facts, *args, **kwargs):
    """Give each salary the key of a fact, write both as parquet, and show the summary by fact."""
    return facts.match_salaries_with_facts(generated_salaries, loaded_facts, kwargs.get("pipeline_run_id"))


@test
def test_every_row_is_counted(output, *args):
    assert (output["employee_count"] > 0).all()
