"""What a training writes to its run of MLflow: scores, where it comes from, and the model in MLflow's format."""

import json
import time
from collections.abc import Mapping

import mlflow.pyfunc
import pandas as pd
from mlflow.entities import Metric
from mlflow.models import Model, infer_signature
from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME
from sklearn.pipeline import Pipeline

from workflows.common.settings import REPO_PATH
from workflows.ml_training_and_inference import artifact
from workflows.ml_training_and_inference.artifact import ARTIFACT_FILE
from workflows.ml_training_and_inference.evaluation import METRICS, Evaluation

# Folder of the model among the files of a run.
MODEL_FOLDER = "model"


def metrics_of(evaluation: Evaluation, classifier: str) -> list[Metric]:
    """Return the scores of a classifier: each fold as a step of `<split>/<metric>`, and their mean and spread."""
    now = int(time.time() * 1000)
    metrics = []
    for split, folds in evaluation.folds_of(classifier).groupby("split", sort=False):
        for name in METRICS:
            scores = folds[name]
            metrics += [Metric(f"{split}/{name}", float(score), now, step) for step, score in enumerate(scores)]
            metrics.append(Metric(f"{split}/{name}_mean", float(scores.mean()), now, 0))
            metrics.append(Metric(f"{split}/{name}_spread", float(scores.std(ddof=0)), now, 0))
    return metrics


def source_tags() -> dict[str, str]:
    """Return the tags by which MLflow shows where a run comes from; without git there is no commit."""
    commit = get_git_commit(str(REPO_PATH))
    return {MLFLOW_SOURCE_NAME: "train_survival_model", **({MLFLOW_GIT_COMMIT: commit} if commit else {})}


def mlflow_model(pipeline: Pipeline, passengers: pd.DataFrame, libraries: Mapping[str, str]) -> dict[str, str]:
    """Return the files of the model in MLflow's format, with signature and input example, by path.

    `mlflow.pyfunc.save_model` writes the same, but takes a second to compare the requirements with what is installed.

    Args:
        pipeline: The fitted pipeline.
        passengers: A few passengers: attribute columns, numbers as floats.
        libraries: Release of each library that is needed.
    """
    predicted = artifact.MLflowModel(pipeline).predict(passengers)
    model = Model(signature=infer_signature(passengers, predicted))
    mlflow.pyfunc.add_to_model(model, loader_module=artifact.__name__, data=ARTIFACT_FILE)
    model.saved_input_example_info = {
        "artifact_path": "input_example.json",
        "type": "dataframe",
        "pandas_orient": "split",
    }
    texts = {
        "MLmodel": model.to_yaml(),
        ARTIFACT_FILE: json.dumps(artifact.to_dict(pipeline)),
        "input_example.json": passengers.to_json(orient="split", index=False),
        "requirements.txt": "".join(f"{name}=={release}\n" for name, release in libraries.items()),
    }
    return {f"{MODEL_FOLDER}/{path}": text for path, text in texts.items()}
