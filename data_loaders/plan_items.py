from workflows.dynamic_blocks_workflow import fan_out

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def plan_items(*args, **kwargs):
    """Turn the runtime variable `count` into the number of items, at most `max_children`."""
    return fan_out.plan_items(kwargs.get("count"), kwargs.get("max_children", 1000))
