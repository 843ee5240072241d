from workflows.common.chain import start_next
from workflows.dynamic_blocks_workflow.fan_out import in_order

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def trigger_spark_workflow(outputs, *args, **kwargs):
    """Start `spark_workflow` with `fun_facts`, the outputs of all child blocks in the order of the items."""
    fun_facts = in_order(outputs, "fun_fact")
    return {**start_next("spark_workflow", kwargs, {"fun_facts": fun_facts}), "fun_facts": fun_facts}
