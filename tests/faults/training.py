"""A training that kills its own process, as an operating system does: at once, without any clean-up."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from workflows.common import files
from workflows.common.settings import get_settings
from workflows.ml_training_and_inference import train_and_promote
from workflows.ml_training_and_inference.registry import Registry
from workflows.ml_training_and_inference.train_and_promote import train_survival_model
from workflows.passengers.files import load_passengers

# Where the process is killed: what it calls, and whether before or after.
POINTS: dict[str, tuple[Any, str, bool]] = {
    "after the evaluation": (train_and_promote, "evaluate", False),
    "while the run is open": (Registry, "log_data", False),
    "before the version is registered": (MlflowClient, "create_model_version", True),
    "after the version is registered": (MlflowClient, "create_model_version", False),
    "before the champion is named": (Registry, "promote", True),
    "between the champion's name and its copy": (Registry, "refresh", True),
    "before the copy is replaced": (files.os, "replace", True),
    "after the copy is replaced": (files.os, "replace", False),
}


def train(models_dir: Path, change: int, point: str | None = None) -> None:
    """Train on data with a small change, which is another version each time; with a point, kill this process there."""
    if point is not None:
        owner, name, is_before = POINTS[point]
        setattr(owner, name, _fatal(getattr(owner, name), is_before))
    passengers = load_passengers(str(get_settings().data_dir / "titanic.csv"))
    passengers.loc[0, "fare"] += change / 100
    train_survival_model(passengers, models_dir, repeats=1)


def _fatal(function: Callable[..., Any], is_before: bool) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not is_before:
            function(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return call
