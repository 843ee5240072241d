"""Load the companies of an API into DuckDB with dlt, as its documentation shows it: a REST source and a pipeline.

Run as `python -m benchmarks.peer_dlt URL FOLDER`; prints seconds, peak memory in MB and rows as a JSON list.
"""

import json
import resource
import sys
import time

import dlt
from dlt.sources.rest_api import rest_api_source

if __name__ == "__main__":
    url, folder = sys.argv[1:]
    started = time.monotonic()
    base, _, path = url.rpartition("/")
    is_paged = path == "pages"
    paginator = {"type": "page_number", "base_page": 0, "total_path": "total_pages"} if is_paged else "single_page"
    source = rest_api_source(
        {
            "client": {"base_url": base},
            "resources": [
                {
                    "name": "companies",
                    "primary_key": "id",
                    "write_disposition": "replace",
                    "endpoint": {"path": path, "paginator": paginator, "data_selector": "data" if is_paged else "$"},
                }
            ],
        }
    )
    pipeline = dlt.pipeline(
        "companies",
        pipelines_dir=f"{folder}/pipelines",
        destination=dlt.destinations.duckdb(f"{folder}/warehouse.duckdb"),
    )
    # Its default, INSERT statements, takes DuckDB much longer and much more memory.
    pipeline.run(source, loader_file_format="parquet").raise_on_failed_jobs()
    seconds = time.monotonic() - started
    with pipeline.sql_client() as client:
        ((rows,),) = client.execute_sql("SELECT count(*) FROM companies")
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, rows]))  # noqa: T201
