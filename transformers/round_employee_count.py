from workflows.ingestion import companies

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def round_employee_count(loaded_companies, *args, **kwargs):
    """Round `employeeCount` half up; missing stays missing."""
    return companies.round_employee_count(loaded_companies)


@test
def test_counts_are_whole(output, *args):
    counts = output["employeeCount"].dropna()
    assert (counts == counts.round()).all()
