"""Which pipeline starts which, and with what."""

import logging
from collections.abc import Mapping
from typing import Any

from workflows.common.mage import Source, trigger_once

logger = logging.getLogger(__name__)

TRIGGER_NAME = "called_from_code"


def start_next(pipeline_uuid: str, kwargs: Mapping[str, Any], variables: Mapping[str, Any] | None = None) -> dict:
    """Start the next pipeline of the chain from a block, once per run, and tell what was done.

    A run that only refreshes the global data product starts nothing: its consumers are under way
    already. Neither does a block that is run by hand in the editor.

    Args:
        pipeline_uuid: Pipeline to start; it has an API trigger named `called_from_code`.
        kwargs: Keyword arguments of the block.
        variables: Runtime variables for the new run.
    """
    source = Source.from_kwargs(kwargs)
    if source is None:
        return _skipped(pipeline_uuid, "not inside a pipeline run")
    if source.is_data_product_refresh:
        return _skipped(pipeline_uuid, "this run refreshes the global data product")
    run_id = trigger_once(pipeline_uuid, TRIGGER_NAME, source, variables or {})
    if run_id is None:
        return _skipped(pipeline_uuid, f"its trigger {TRIGGER_NAME} is inactive")
    return {"pipeline": pipeline_uuid, "pipeline_run_id": run_id, "skipped": None}


def _skipped(pipeline_uuid: str, reason: str) -> dict:
    logger.info("%s is not started: %s", pipeline_uuid, reason)
    return {"pipeline": pipeline_uuid, "pipeline_run_id": None, "skipped": reason}
