from workflows.common.chain import start_next

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def trigger_spark_workflow_for_empty_plan(*args, **kwargs):
    """Start `spark_workflow` with an empty list of `fun_facts`, because there are no items."""
    return start_next("spark_workflow", kwargs, {"fun_facts": []})
