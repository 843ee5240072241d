from workflows.passengers.contract import from_core_users

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def deduplicate_users(core_users, *args, **kwargs):
    """Return one checked row per passenger: the data product repeats each passenger for every company."""
    return from_core_users(core_users)
