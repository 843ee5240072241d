"""A version of the model as one JSON document: what its features learned, and XGBoost's trees.

Loading it parses JSON and runs nothing that the document holds. MLflow loads it by `_load_pyfunc`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from xgboost import XGBClassifier
from xgboost.core import XGBoostError

from workflows.ml_training_and_inference.features import FEATURE_NAMES, PassengerFeatures

ARTIFACT_FILE = "survival.json"


class UnusableVersionError(Exception):
    """A version cannot serve; the message says why."""


@dataclass(frozen=True)
class Version:
    """A version of the model that can predict.

    Attributes:
        name: Number of the version in MLflow.
        run_id: MLflow's run that trained it.
        pipeline: Its features and its XGBoost classifier.
    """

    name: str
    run_id: str
    pipeline: Pipeline


def to_dict(pipeline: Pipeline) -> dict[str, Any]:
    """Return a fitted pipeline as JSON types, exactly."""
    return {
        "feature_names": list(FEATURE_NAMES),
        "features": pipeline["features"].to_dict(),
        "xgboost": json.loads(bytes(pipeline["model"].get_booster().save_raw("json"))),
    }


def from_dict(content: Mapping[str, Any]) -> Pipeline:
    """Return the pipeline that `to_dict` wrote; it predicts the same to the last bit.

    Raises:
        UnusableVersionError: the document is damaged, or its features are not those of this code.
    """
    try:
        if content["feature_names"] != list(FEATURE_NAMES):
            raise UnusableVersionError("its features are not those of this code")
        features = PassengerFeatures.from_dict(content["features"])
        model = XGBClassifier()
        model.load_model(bytearray(json.dumps(content["xgboost"]), "utf-8"))
    except (KeyError, TypeError, ValueError, AttributeError, XGBoostError) as error:
        raise UnusableVersionError(f"it is damaged ({type(error).__name__})") from error
    # A single thread is faster for one row, and gives the same predictions.
    model.get_booster().set_param({"nthread": 1})
    return Pipeline([("features", features), ("model", model)])


class MLflowModel:
    """The model as MLflow calls it."""

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Return the probability of survival, and 1 where it is at least 0.5, for each passenger."""
        probability = self._pipeline.predict_proba(model_input)[:, 1].astype(float)
        return pd.DataFrame({"survived": (probability >= 0.5).astype(np.int64), "probability": probability})


def _load_pyfunc(path: str) -> MLflowModel:
    """Load the model for `mlflow.pyfunc.load_model`."""
    return MLflowModel(from_dict(json.loads(Path(path).read_text(encoding="utf-8"))))
