"""The same model for MLflow's server: `python -m benchmarks.peer_mlflow FOLDER` saves it there."""

import sys
from typing import Any

import mlflow

from workflows.common.settings import get_settings
from workflows.survival.inference import predict_passenger


class Survival(mlflow.pyfunc.PythonModel):
    """One prediction a row."""

    def predict(self, model_input: list[dict[str, str]]) -> list[dict[str, Any]]:
        return [predict_passenger(row, get_settings().models_dir) for row in model_input]


if __name__ == "__main__":
    mlflow.pyfunc.save_model(sys.argv[1], python_model=Survival(), pip_requirements=[])
