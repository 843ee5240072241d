import pandas as pd
import pytest

from workflows.common.settings import get_settings
from workflows.passengers.files import load_passengers


@pytest.fixture
def joined(run_block) -> pd.DataFrame:
    companies = run_block("ingestion", "load_companies")
    run_block("ingestion", "export_companies", run_block("ingestion", "round_employee_count", companies))
    passengers = run_block("sql_python_workflow", "load_passengers")
    store_output("load_passengers", passengers)
    return run_block("sql_python_workflow", "join_passengers_companies", passengers)


def store_output(block_uuid: str, table: pd.DataFrame) -> None:
    """Keep a block's output where Mage's SQL blocks read it from."""
    from mage_ai.data_preparation.models.pipeline import Pipeline

    from workflows.common.settings import REPO_PATH

    pipeline = Pipeline.get("sql_python_workflow", repo_path=str(REPO_PATH))
    pipeline.get_block(block_uuid).store_variables({"output_0": table})


def test_mages_own_upload_loses_nothing(joined):
    """Through Mage's `{{ df_1 }}`: every age and fare comes back as it stood in the CSV."""
    source = load_passengers(get_settings().passengers_source).set_index("passenger_id").sort_index()
    by_passenger = joined.set_index("passenger_id").sort_index()
    assert len(joined) == 891
    assert set(joined["company_count"]) == {12}
    pd.testing.assert_series_equal(by_passenger["fare"], source["fare"], check_dtype=False)
    pd.testing.assert_series_equal(by_passenger["age"], source["age"], check_dtype=False)
    assert (by_passenger["_name"] == source["_name"]).all()
    assert by_passenger["cabin"].isna().equals(source["cabin"].isna())
