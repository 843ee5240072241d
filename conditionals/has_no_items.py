if "condition" not in globals():
    from mage_ai.data_preparation.decorators import condition


@condition
def has_no_items(plan, *args, **kwargs) -> bool:
    """Run the branch without the fan-out only if there are no items."""
    return plan["items"] == 0
