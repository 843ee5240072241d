import pytest

from workflows.common.settings import REPO_PATH

PIPELINES = sorted(path.name for path in (REPO_PATH / "pipelines").iterdir() if path.is_dir())


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_mage_loads_the_pipeline_and_finds_every_block(pipeline):
    from mage_ai.data_preparation.models.pipeline import Pipeline

    loaded = Pipeline.get(pipeline, repo_path=str(REPO_PATH))
    loaded.validate()
    for block in loaded.blocks_by_uuid.values():
        assert block.type == "global_data_product" or block.content.strip()


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_its_triggers_are_in_the_database_with_tokens_made_there(pipeline):
    from mage_ai.orchestration.db.models.schedules import PipelineSchedule

    schedules = PipelineSchedule.query.filter(PipelineSchedule.pipeline_uuid == pipeline).all()
    assert schedules
    assert all(len(schedule.token) == 32 for schedule in schedules)
