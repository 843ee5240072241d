from workflows.common.settings import get_settings
from workflows.ml_training_and_inference import train_and_promote

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def train_survival_model(passengers, *args, **kwargs):
    """Train and evaluate a version of the model in MLflow, promote it if it is good enough, and return its metrics."""
    settings = get_settings()
    return train_and_promote.train_survival_model(
        passengers,
        settings.models_dir,
        accept_drift=kwargs.get("accept_drift", False),
        tracking_uri=settings.mlflow_tracking_uri,
        source=settings.passengers_source,
    )


@test
def test_model_and_baselines_are_evaluated_in_both_splits(output, *args):
    splits = output.groupby("classifier")["split"].agg(set)
    assert all(names == {"stratified", "grouped"} for names in splits)
    assert "model" in splits
