"""Runs of a pipeline, as Mage's database knows them."""

from dataclasses import dataclass
from datetime import datetime

# In `PipelineRun.metrics`: tells the record of a call over /api/runs from a run of the pipeline.
CALL_MARKER = "run_api"


@dataclass(frozen=True)
class PipelineRun:
    """What counts of a pipeline run; times are UTC."""

    id: int
    is_completed: bool
    is_in_flight: bool
    completed_at: datetime | None
