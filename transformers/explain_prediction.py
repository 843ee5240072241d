from workflows.common.settings import get_settings
from workflows.survival.explanation import explain
from workflows.survival.inference import predict_passenger

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def explain_prediction(prediction, *args, **kwargs):
    """AI block: explain the prediction of `online_inference`, or of the variables of a call over /api/runs."""
    # Over /api/runs nothing comes from upstream: the passenger is in the variables.
    prediction = prediction or predict_passenger(kwargs, get_settings().models_dir)
    return explain(prediction, run=kwargs.get("pipeline_run_id"))
