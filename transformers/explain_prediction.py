from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.champion import load_champion
from workflows.ml_training_and_inference.explanation import explain
from workflows.ml_training_and_inference.inference import predict_passenger

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def explain_prediction(prediction, *args, **kwargs):
    """AI block: explain the prediction, and what should have changed for the other outcome."""
    models_dir = get_settings().models_dir
    # Over /api/runs nothing comes from upstream: the passenger is in the variables.
    prediction = prediction or predict_passenger(kwargs, models_dir)
    return explain(prediction, load_champion(models_dir), pipeline_run_id=kwargs.get("pipeline_run_id"))
