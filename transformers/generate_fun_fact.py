from workflows.dynamic_blocks_workflow.fun_facts import fun_fact

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def generate_fun_fact(item, *args, **kwargs):
    """AI block, one child per item: a fun fact about the item's number."""
    # A list of one: `reduce_output` joins the lists of all children in the order of the items.
    return [{**item, **fun_fact(item["number"], pipeline_run_id=kwargs.get("pipeline_run_id"))}]
