from datetime import timedelta

from workflows.common.mage import recent_runs
from workflows.sql_python_workflow.freshness import wait_for_fresh_run

if "sensor" not in globals():
    from mage_ai.data_preparation.decorators import sensor


@sensor
def wait_for_ingestion(*args, **kwargs) -> bool:
    """Pass once a completed ingestion is at most `ingestion_max_age_minutes` old; fail after the timeout."""
    wait_for_fresh_run(
        lambda: recent_runs("ingestion", final_block_uuid="export_companies"),
        pipeline_uuid="ingestion",
        max_age=timedelta(minutes=float(kwargs.get("ingestion_max_age_minutes", 60))),
        timeout=timedelta(minutes=float(kwargs.get("ingestion_timeout_minutes", 30))),
    )
    return True
