from workflows.common.chain import start_next

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def trigger_dynamic_blocks_workflow(passengers, *args, **kwargs):
    """Start `dynamic_blocks_workflow` with `count`, the number of joined rows."""
    return start_next("dynamic_blocks_workflow", kwargs, {"count": int(passengers["company_count"].sum())})
