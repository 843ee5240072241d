from workflows.common.mage import refresh_data_product

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def refresh_core_users(*args, **kwargs):
    """Recompute the data product if it is stale; consumers take turns, so that one refresh serves all."""
    timeout_seconds = 60 * float(kwargs.get("refresh_timeout_minutes", 45))
    return {"core_users_run_id": refresh_data_product("core_users", timeout_seconds)}
