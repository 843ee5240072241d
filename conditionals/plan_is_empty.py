if "condition" not in globals():
    from mage_ai.data_preparation.decorators import condition


@condition
def plan_is_empty(plan, *args, **kwargs) -> bool:
    """Run the branch without the fan-out only if there are no items."""
    return plan["items"] == 0
