from workflows.passengers.contract import from_core_users

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def prepare_passengers(core_users, *args, **kwargs):
    """Return one checked row per passenger, so that no passenger is in two parts of a train-test split."""
    return from_core_users(core_users)
