if "condition" not in globals():
    from mage_ai.data_preparation.decorators import condition


@condition
def has_items(plan, *args, **kwargs) -> bool:
    """Run the fan-out only if there are items: Mage fails on a dynamic block with an empty list."""
    return plan["items"] > 0
