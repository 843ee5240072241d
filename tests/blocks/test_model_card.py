from functools import partial

from mage_server.editor import as_text
from workflows.common.settings import REPO_PATH, get_settings
from workflows.sql_python.passenger_files import load_passengers
from workflows.survival import train_and_promote as workflow
from workflows.survival.card import CARD_FILE, as_block_output
from workflows.survival.training import Parameters

PIPELINE, BLOCK = "ml_training_and_inference", "train_survival_model"


def test_mage_shows_the_card_whole_beside_the_table(run_block, monkeypatch, tmp_path):
    from mage_ai.data_preparation.models.pipeline import Pipeline

    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    quick = partial(workflow.train_survival_model, parameters=Parameters(n_estimators=5), repeats=1)
    monkeypatch.setattr(workflow, "train_survival_model", quick)
    table, card = run_block(PIPELINE, BLOCK, load_passengers(get_settings().passengers_source))
    (version,) = set(table["model_version"])
    html = (tmp_path / "models" / version / CARD_FILE).read_text(encoding="utf-8")
    cell = as_block_output(html, version).loc[0, "model_card"]
    assert card.loc[0, "model_card"] == cell
    assert as_text(cell) == cell, "the one HTML that the server lets the UI render"

    block = Pipeline.get(PIPELINE, repo_path=str(REPO_PATH)).get_block(BLOCK)
    block.store_variables({"output_0": table, "output_1": card})
    # What the API gives to the UI, which renders a table whose every cell is HTML as HTML.
    first, second = block.get_outputs()
    assert (first["type"], second["type"]) == ("table", "table")
    assert first["sample_data"]["columns"] == list(table.columns)
    assert second["sample_data"] == {"columns": ["model_card"], "rows": [[cell]]}
