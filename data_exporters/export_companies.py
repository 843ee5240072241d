from workflows.common.mage import duckdb_database
from workflows.ingestion import companies

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def export_companies(rounded_companies, *args, **kwargs):
    """Replace the table of companies in DuckDB, all or nothing."""
    return companies.export_companies(duckdb_database(), rounded_companies)
