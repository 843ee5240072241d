"""Leave the tokens of triggers out of the answers of Mage's API while HIDE_API_TRIGGER_TOKEN is on."""

import functools
from typing import Any

from mage_ai.api.operations.constants import UPDATE
from mage_ai.api.presenters.PipelineSchedulePresenter import PipelineSchedulePresenter
from mage_ai.orchestration.db.models.schedules import PipelineRun, PipelineSchedule

# Mage's own word, which its UI knows.
PLACEHOLDER = "[API_TOKEN_PLACEHOLDER]"


def install() -> None:
    """Wrap how triggers and runs become JSON. Mage does this only for one of the answers that hold a trigger."""
    original_to_dict = PipelineSchedule.to_dict
    original_present = PipelineSchedulePresenter.prepare_present

    @functools.wraps(original_to_dict)
    def to_dict(self: PipelineSchedule, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**original_to_dict(self, *args, **kwargs), "token": PLACEHOLDER}

    @functools.wraps(original_present)
    async def prepare_present(self: PipelineSchedulePresenter, **kwargs: Any) -> dict[str, Any]:
        data: dict[str, Any] = await original_present(self, **kwargs)
        # Whoever may rotate a token is shown the new one, once.
        asked = (kwargs.get("payload") or {}).get("pipeline_schedule") or {}
        if kwargs.get("format") == UPDATE and asked.get("rotate_token"):
            data["token"] = self.model.token
        return data

    PipelineSchedule.to_dict = to_dict
    PipelineSchedulePresenter.prepare_present = prepare_present
    PipelineRun.pipeline_schedule_token = property(lambda _: PLACEHOLDER)
