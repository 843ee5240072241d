from workflows.common.mage import duckdb_database
from workflows.common.warehouse import RAW_COMPANIES, replace_table

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def export_companies(companies, *args, **kwargs):
    """Replace the table of companies in DuckDB, all or nothing."""
    rows = replace_table(duckdb_database(), RAW_COMPANIES, companies)
    return {"table": RAW_COMPANIES.name, "rows": rows}
