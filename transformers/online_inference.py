from workflows.common.mage import given_variables
from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.inference import passenger_of_run, predict_passenger

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def online_inference(*args, **kwargs):
    """Predict the passenger given as variables with the serving version, in the pipeline and over `/api/runs`."""
    return predict_passenger(passenger_of_run(given_variables(kwargs), kwargs), get_settings().models_dir)
