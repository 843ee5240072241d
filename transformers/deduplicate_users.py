from workflows.sql_python.passengers import from_core_users

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def deduplicate_users(core_users, *args, **kwargs):
    """One row per passenger: the data product repeats each passenger for every company."""
    return from_core_users(core_users)


@test
def test_one_row_per_user(output, *args):
    assert output["passenger_id"].is_unique
