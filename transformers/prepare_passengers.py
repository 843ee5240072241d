from workflows.sql_python.passengers import from_core_users

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def prepare_passengers(core_users, *args, **kwargs):
    """One row per passenger, without the companies: copies of a person must not stand on both sides of a split."""
    return from_core_users(core_users)


@test
def test_one_row_per_passenger(output, *args):
    assert output["passenger_id"].is_unique
    assert not any(name.startswith("company_") for name in output.columns)
