from workflows.common.mage import freshness, refresh_data_product
from workflows.common.settings import get_settings
from workflows.passengers.files import fingerprint

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def refresh_core_users(*args, **kwargs):
    """Recompute the data product if it is stale, or if the runtime variable `refresh` is true.

    Consumers take turns, so that one refresh serves all.
    """
    timeout_seconds = 60 * float(kwargs.get("refresh_timeout_minutes", 45))
    made_of = fingerprint(get_settings().passengers_source)
    is_forced = str(kwargs.get("refresh", False)).lower() == "true"
    run_id = refresh_data_product("core_users", timeout_seconds, made_of, is_forced)
    return {"core_users_run_id": run_id, **freshness("core_users", run_id)}
