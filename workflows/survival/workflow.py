"""Train, evaluate and keep: what the training block does."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from workflows.errors import InvalidInputError
from workflows.passengers import ATTRIBUTE_NAMES, TARGET
from workflows.survival import registry
from workflows.survival.evaluation import Evaluation, evaluate
from workflows.survival.training import Parameters, fit

logger = logging.getLogger(__name__)

FOLDS = 5
REPEATS = 5
MINIMUM_ROWS = 50
PARAMETERS = Parameters()


def train_survival_model(
    df: pd.DataFrame,
    models_dir: Path,
    parameters: Parameters = PARAMETERS,
    repeats: int = REPEATS,
) -> pd.DataFrame:
    """Evaluate and fit the model, and keep it as the newest version.

    Where the serving version was made of the same data, code, parameters and libraries, it would come out the same
    again, so it is kept and its evaluation reported: a block that runs twice changes nothing.

    Args:
        df: One row per passenger, the canonical columns.
        models_dir: Folder of the versions.
        parameters: Of the model.
        repeats: Times that each split of the evaluation is drawn.

    Returns:
        One row per split and classifier with the mean and the spread of each metric, the number of
        passengers and the version.

    Raises:
        InvalidInputError: fewer than 50 passengers, or fewer than 5 of one outcome.
    """
    check_trainable(df)
    ordered = df.sort_values("passenger_id", ignore_index=True)
    ingredients = {
        "data_sha256": registry.hash_data(ordered),
        "code_sha256": registry.hash_code(),
        "parameters": asdict(parameters),
        "evaluation": {"folds": FOLDS, "repeats": repeats},
        "libraries": registry.library_versions(),
    }
    fingerprint = registry.fingerprint(ingredients)
    serving = next(registry.usable_versions(models_dir), None)
    if serving is not None and serving.metadata.get("fingerprint") == fingerprint:
        logger.info("model version %s was made of the same data, code and parameters", serving.name)
        return summary(serving.name, serving.metadata)

    started = time.perf_counter()
    pipeline = fit(ordered.loc[:, list(ATTRIBUTE_NAMES)], ordered[TARGET].to_numpy(), parameters)
    fitted = time.perf_counter()
    evaluation = evaluate(ordered, parameters, folds=FOLDS, repeats=repeats)
    metadata: dict[str, Any] = {
        **ingredients,
        "rows": len(ordered),
        "survivors": int(ordered[TARGET].sum()),
        "seconds": {
            "training": round(fitted - started, 3),
            "evaluation": round(time.perf_counter() - fitted, 3),
        },
        "metrics": evaluation.to_dict(),
    }
    name = registry.save(models_dir, pipeline, metadata, fingerprint)
    logger.info("model version %s: %s", name, _headline(evaluation))
    return summary(name, metadata)


def summary(version: str, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table of the evaluation with the version and the number of passengers in each row."""
    table = pd.DataFrame(metadata["metrics"]["table"])
    return table.round(4).assign(passengers=metadata["rows"], model_version=version)


def check_trainable(df: pd.DataFrame) -> None:
    """Refuse data from which no model can be fitted and judged.

    Raises:
        InvalidInputError: says what is lacking.
    """
    if not df["passenger_id"].is_unique:
        raise InvalidInputError("training needs one row per passenger: passenger_id repeats")
    if len(df) < MINIMUM_ROWS:
        raise InvalidInputError(f"training needs at least {MINIMUM_ROWS} passengers, there are {len(df)}")
    for outcome in (0, 1):
        count = int((df[TARGET] == outcome).sum())
        if count < FOLDS:
            raise InvalidInputError(
                f"training needs at least {FOLDS} passengers with {TARGET} = {outcome}, there are {count}"
            )


def _headline(evaluation: Evaluation) -> str:
    table = evaluation.table().set_index(["split", "classifier"])
    return ", ".join(
        f"{split} {name} accuracy {table.loc[(split, name), 'accuracy']:.3f}" for split, name in table.index
    )
