from workflows.common.settings import get_settings
from workflows.survival import train_and_promote

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def train_survival_model(passengers, *args, **kwargs):
    """Train, evaluate and save a version of the model, and promote it if it is good enough; return metrics and card."""
    models_dir = get_settings().models_dir
    table = train_and_promote.train_survival_model(
        passengers, models_dir, accept_drift=kwargs.get("accept_drift", False)
    )
    return train_and_promote.with_card(table, models_dir)


@test
def test_model_and_baselines_are_evaluated_in_both_splits(output, *args):
    splits = output.groupby("classifier")["split"].agg(set)
    assert all(names == {"stratified", "grouped"} for names in splits)
    assert "model" in splits
