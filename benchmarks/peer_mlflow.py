"""Save the survival model for MLflow's model server.

Run as `python -m benchmarks.peer_mlflow FOLDER`.
"""

import sys
from typing import Any

import mlflow

from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.inference import predict_passenger


class SurvivalModel(mlflow.pyfunc.PythonModel):
    """Returns one prediction per row."""

    def predict(self, model_input: list[dict[str, str]]) -> list[dict[str, Any]]:
        return [predict_passenger(row, get_settings().models_dir) for row in model_input]


if __name__ == "__main__":
    mlflow.pyfunc.save_model(sys.argv[1], python_model=SurvivalModel(), pip_requirements=[])
