"""What people want to know of a version and promotion does not need: baselines, plots and the model card, in MLflow."""

from pathlib import Path

import pandas as pd

from workflows.ml_training_and_inference import registry, training_log
from workflows.ml_training_and_inference.artifact import UnusableVersionError
from workflows.ml_training_and_inference.card import CARD_FILE, as_block_output, model_card
from workflows.ml_training_and_inference.evaluation import MODEL, Evaluation
from workflows.ml_training_and_inference.registry import Registry
from workflows.passengers.contract import COLUMN_NAMES, KEY


def document_version(df: pd.DataFrame, number: str, models_dir: Path, tracking_uri: str | None = None) -> pd.DataFrame:
    """Log the baselines of a version as child runs, and its plots and card as artifacts. A second call changes nothing.

    Args:
        df: The passengers that the version was trained on.
        number: The version.
        models_dir: See `Registry`.
        tracking_uri: See `Registry`.

    Returns:
        The card as a table that Mage's UI renders as a page.

    Raises:
        ServiceError: MLflow cannot be used.
    """
    models = Registry(models_dir, tracking_uri)
    with models.lock("documentation"):
        version = models.get(number)
        try:
            html = models.read(version, CARD_FILE)
        except UnusableVersionError:
            ordered = df.loc[:, list(COLUMN_NAMES)].sort_values(KEY, ignore_index=True)
            evaluation = Evaluation.from_texts(lambda path: models.read(version, path))
            run_id = registry.run_of(version)
            _log_baselines(models, run_id, evaluation)
            files = model_card(models.load(version), models.record(version), ordered, evaluation)
            # The card last: it tells the next call that nothing is left to do.
            html = files.pop(CARD_FILE)
            models.log_texts(run_id, files)
            models.log_texts(run_id, {CARD_FILE: html})
    return as_block_output(html, number)


def calibration(number: str, models_dir: Path, tracking_uri: str | None = None) -> pd.DataFrame:
    """Return predicted and true shares of survivors of a version by bin; see `Evaluation.calibration`.

    Raises:
        ServiceError: MLflow cannot be used.
    """
    models = Registry(models_dir, tracking_uri)
    version = models.get(number)
    return Evaluation.from_texts(lambda path: models.read(version, path)).calibration()


def _log_baselines(models: Registry, run_id: str, evaluation: Evaluation) -> None:
    done = models.children(run_id)
    for name in evaluation.scores["classifier"].unique():
        if name != MODEL and name not in done:
            with models.run(name, parent=run_id) as child:
                models.log(child, {"classifier": name}, training_log.metrics_of(evaluation, name), {})
