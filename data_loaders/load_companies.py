from workflows.common.mage import duckdb_database
from workflows.common.settings import get_settings
from workflows.ingestion import companies

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load_companies(*args, **kwargs):
    """Fetch the companies from COMPANIES_API_URL, by default the bundled sample; set aside what does not fit."""
    settings = companies.with_source(get_settings())
    url = str(settings.companies_api_url)
    return companies.load_companies(settings, url, duckdb_database(), kwargs.get("pipeline_run_id"))


@test
def test_ids_are_unique(output, *args):
    assert output["id"].is_unique
