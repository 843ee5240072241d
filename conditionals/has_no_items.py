if "condition" not in globals():
    from mage_ai.data_preparation.decorators import condition


@condition
def has_no_items(plan, *args, **kwargs) -> bool:
    """Run the branch that hands on an empty list only if there is nothing to fan out."""
    return plan["items"] == 0
