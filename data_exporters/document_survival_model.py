from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.documentation import document_version

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def document_survival_model(passengers, trained, *args, **kwargs):
    """Add the baselines, the plots and the model card of the trained version to MLflow, and return the card."""
    settings = get_settings()
    number = str(trained["model_version"].iloc[0])
    return document_version(passengers, number, settings.models_dir, settings.mlflow_tracking_uri)
