"""Keep the records of calls from being run again.

A call over /api/runs is recorded as a run of its pipeline, and Mage's UI offers to retry runs: that would run the whole
pipeline, with its trainers and triggers.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from mage_ai.api.errors import ApiError
from mage_ai.api.resources import PipelineResource as pipeline_resource
from mage_ai.api.resources.PipelineRunResource import PipelineRunResource
from mage_ai.orchestration.db.models.schedules import PipelineRun

from workflows.common.pipeline_runs import CALL_MARKER

REASON = "This run records a call over /api/runs and cannot be retried; send the call again"


def install() -> None:
    """Wrap what Mage's API does to retry runs."""
    pipeline_resource.retry_pipeline_run = _refusing(pipeline_resource.retry_pipeline_run)
    PipelineRunResource.update = _refusing_update(PipelineRunResource.update)
    PipelineRun.batch_update_status = _leaving_out_calls(PipelineRun.batch_update_status)


def _is_call(run: PipelineRun | None) -> bool:
    return run is not None and CALL_MARKER in (run.metrics or {})


def _refuse() -> None:
    raise ApiError({**ApiError.RESOURCE_INVALID, "message": REASON})


def _refusing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def retry(pipeline_run: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if _is_call(PipelineRun.query.get(pipeline_run["id"])):
            _refuse()
        return original(pipeline_run, *args, **kwargs)

    return retry


def _refusing_update(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def update(self: PipelineRunResource, payload: dict[str, Any], **kwargs: Any) -> Any:
        if payload.get("pipeline_run_action") == "retry_blocks" and _is_call(self.model):
            _refuse()
        return original(self, payload, **kwargs)

    return update


def _leaving_out_calls(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the update by which the UI retries all incomplete blocks of a pipeline: calls stay as they ended."""

    def batch_update_status(ids: Sequence[int], status: Any) -> Any:
        calls = {run.id for run in PipelineRun.query.filter(PipelineRun.id.in_(ids)) if _is_call(run)}
        return original([run_id for run_id in ids if run_id not in calls], status)

    return batch_update_status
