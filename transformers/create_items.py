from workflows.dynamic_blocks_workflow.fan_out import make_items

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def create_items(plan, *args, **kwargs):
    """Dynamic parent: one child block per item."""
    items = make_items(plan["items"])
    return [items, [{"block_uuid": f"item_{item['number']}"} for item in items]]
