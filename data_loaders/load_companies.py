from workflows.common.local_services import ensure_service
from workflows.common.settings import get_settings
from workflows.ingestion.companies import COMPANIES_API, fetch_companies

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load_companies(*args, **kwargs):
    """GET the companies from COMPANIES_API_URL, by default the bundled sample served on this machine."""
    settings = get_settings()
    return fetch_companies(
        settings.companies_api_url or f"{ensure_service(COMPANIES_API)}/companies",
        timeout_seconds=settings.companies_api_timeout_seconds,
        deadline_seconds=settings.companies_api_deadline_seconds,
        retries=settings.companies_api_retries,
    )


@test
def test_ids_are_unique(output, *args):
    assert output["id"].is_unique
