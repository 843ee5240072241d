"""Mage without its server: its database, the repository's triggers, and a way to run one block."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from workflows.common.settings import REPO_PATH


@pytest.fixture(scope="session", autouse=True)
def mage() -> Iterator[None]:
    """Load the project as Mage does at start: database migrated, triggers synchronised."""
    from mage_ai.settings.repo import set_repo_path

    set_repo_path(str(REPO_PATH))
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.database_manager import database_manager
    from mage_ai.orchestration.pipeline_scheduler import sync_schedules

    database_manager.run_migrations()
    db_connection.start_session()
    sync_schedules([path.name for path in (REPO_PATH / "pipelines").iterdir() if path.is_dir()])
    yield
    db_connection.close_session()


@pytest.fixture
def run_block(mage: None) -> Callable[..., Any]:
    """Return a function that executes a block of a pipeline with given inputs and keyword arguments."""
    from mage_ai.data_preparation.models.pipeline import Pipeline

    def run(pipeline: str, block: str, *inputs: Any, **kwargs: Any) -> Any:
        found = Pipeline.get(pipeline, repo_path=str(REPO_PATH)).get_block(block)
        output = found.execute_block(input_args=list(inputs), global_vars=kwargs)["output"]
        return output[0] if len(output) == 1 else output

    return run


@pytest.fixture
def pipeline_run(mage: None) -> Callable[..., Any]:
    """Return a function that makes a run of a pipeline in Mage's database, as the scheduler would."""
    from mage_ai.orchestration.db.models.schedules import PipelineRun, PipelineSchedule

    def make(pipeline: str, trigger: str, **fields: Any) -> PipelineRun:
        schedule = PipelineSchedule.query.filter(
            PipelineSchedule.pipeline_uuid == pipeline, PipelineSchedule.name == trigger
        ).one()
        return PipelineRun.create(pipeline_uuid=pipeline, pipeline_schedule_id=schedule.id, **fields)

    return make
