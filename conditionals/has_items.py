if "condition" not in globals():
    from mage_ai.data_preparation.decorators import condition


@condition
def has_items(plan, *args, **kwargs) -> bool:
    """Run the dynamic parent only with something to fan out: Mage fails on an empty list."""
    return plan["items"] > 0
