from workflows.common.settings import get_settings
from workflows.survival import train_and_promote as workflow

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def train_survival_model(passengers, *args, **kwargs):
    """Keep a new version of the model, promoted if it is good enough; the output is its evaluation and its card."""
    models_dir = get_settings().models_dir
    table = workflow.train_survival_model(passengers, models_dir, accept_drift=kwargs.get("accept_drift", False))
    return workflow.with_card(table, models_dir)


@test
def test_model_and_baselines_are_judged_in_both_splits(output, *args):
    splits = output.groupby("classifier")["split"].agg(set)
    assert all(names == {"stratified", "grouped"} for names in splits)
    assert "model" in splits
