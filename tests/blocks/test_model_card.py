from functools import partial

from mage_server.editor import as_text
from workflows.common.settings import REPO_PATH, get_settings
from workflows.ml_training_and_inference import train_and_promote as workflow
from workflows.ml_training_and_inference.card import CARD_FILE, as_block_output
from workflows.ml_training_and_inference.registry import Registry
from workflows.ml_training_and_inference.training import Parameters
from workflows.passengers.files import load_passengers

PIPELINE, BLOCK = "ml_training_and_inference", "document_survival_model"


def test_mage_shows_the_card_whole(run_block, monkeypatch, tmp_path):
    from mage_ai.data_preparation.models.pipeline import Pipeline

    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    quick = partial(workflow.train_survival_model, parameters=Parameters(n_estimators=5), repeats=1)
    monkeypatch.setattr(workflow, "train_survival_model", quick)
    passengers = load_passengers(get_settings().passengers_source)
    table = run_block(PIPELINE, "train_survival_model", passengers)
    (number,) = set(table["model_version"])
    card = run_block(PIPELINE, BLOCK, passengers, table)
    models = Registry(tmp_path / "models")
    cell = as_block_output(models.read(models.get(number), CARD_FILE), number).loc[0, "model_card"]
    assert card.loc[0, "model_card"] == cell
    assert as_text(cell) == cell, "the one HTML that the server lets the UI render"

    block = Pipeline.get(PIPELINE, repo_path=str(REPO_PATH)).get_block(BLOCK)
    block.store_variables({"output_0": card})
    # What the API gives to the UI, which renders a table whose every cell is HTML as HTML.
    (shown,) = block.get_outputs()
    assert shown["type"] == "table"
    assert shown["sample_data"] == {"columns": ["model_card"], "rows": [[cell]]}
