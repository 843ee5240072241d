"""Check, train, evaluate, keep, and promote or reject: what the training block does."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError
from sklearn.pipeline import Pipeline

from workflows.common.errors import InvalidInputError
from workflows.common.settings import REPO_PATH
from workflows.sql_python.passengers import ATTRIBUTE_NAMES, COLUMN_NAMES, KEY, TARGET
from workflows.survival import registry
from workflows.survival.card import CARD_FILE, as_block_output, model_card
from workflows.survival.checks import Check, check_data, profile
from workflows.survival.evaluation import MODEL, Evaluation, evaluate
from workflows.survival.promotion import fold_scores, judge
from workflows.survival.training import Parameters, fit

logger = logging.getLogger(__name__)

FOLDS = 5
REPEATS = 5
PARAMETERS = Parameters()


def train_survival_model(
    df: pd.DataFrame,
    models_dir: Path,
    parameters: Parameters = PARAMETERS,
    repeats: int = REPEATS,
    accept_drift: bool | str = False,
) -> pd.DataFrame:
    """Check the data, evaluate and fit the model, keep it as a candidate, and promote it if the rules allow.

    Where a version was made of the same data, code, parameters and libraries, it would come out the same again,
    so nothing is trained: a block that runs twice changes nothing, whether that version serves or was rejected.
    It is judged again, because another may serve now; one that somebody has replaced by hand stays replaced.

    Args:
        df: One row per passenger, the canonical columns.
        models_dir: Folder of the versions.
        parameters: Of the model.
        repeats: Times that each split of the evaluation is drawn.
        accept_drift: The data may differ much from what the last version was trained on; also as text.

    Returns:
        One row per split and classifier with the mean and the spread of each metric, the number of
        passengers, the version, and its `model_status`: `serving`, `rejected` and so on, see `registry.Status`.

    Raises:
        InvalidInputError: `.fields` names each failed check, or `accept_drift`; what serves stays.
        NotReadyError: another training has not ended in time.
    """
    checks = check_data(df, registry.last_profile(models_dir), FOLDS, _is_true(accept_drift))
    _report(checks)
    ordered = df.loc[:, list(COLUMN_NAMES)].sort_values(KEY, ignore_index=True)
    ingredients = {
        "data_sha256": registry.hash_data(ordered),
        "code_sha256": registry.hash_code(),
        "parameters": asdict(parameters),
        "evaluation": {"folds": FOLDS, "repeats": repeats},
        "libraries": registry.library_versions(),
    }
    fingerprint = registry.fingerprint(ingredients)
    with registry.training(models_dir):
        serving = next(registry.usable_versions(models_dir), None)
        incumbent = serving.metadata if serving else None
        made = registry.find(models_dir, fingerprint)
        if made is None:
            pipeline, metadata, evaluation = _train(ordered, parameters, repeats)
            metadata |= {**ingredients, "checks": [asdict(check) for check in checks]}
            metadata["promotion"] = judge(metadata, incumbent).to_dict()
            files = {CARD_FILE: lambda kept: _card(kept, pipeline, ordered, evaluation)}
            name = registry.save(models_dir, pipeline, metadata, fingerprint, files)
        else:
            name, metadata = made.name, dict(made.metadata)
            logger.info("model version %s was made of the same data, code, parameters and libraries", name)
        if serving is None or serving.name != name:
            _promote(models_dir, name, metadata, incumbent)
    return summary(name, metadata, registry.status(models_dir, name))


def summary(version: str, metadata: Mapping[str, Any], status: str) -> pd.DataFrame:
    """Return the table of the evaluation with the number of passengers, the version and its status in each row."""
    table = pd.DataFrame(metadata["metrics"]["table"])
    return table.round(4).assign(passengers=metadata["rows"], model_version=version, model_status=status)


def with_card(table: pd.DataFrame, models_dir: Path) -> list[pd.DataFrame]:
    """Return the table of `train_survival_model` and, second, the card of its version as Mage's UI shows it.

    A version that was made without a card comes alone.
    """
    version = str(table["model_version"].iloc[0])
    try:
        html = (models_dir / version / CARD_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return [table]
    return [table, as_block_output(html, version)]


def _is_true(accept_drift: bool | str) -> bool:
    """Read the variable, which arrives as text from some callers."""
    try:
        return TypeAdapter(bool).validate_python(accept_drift)
    except ValidationError:
        raise InvalidInputError("no model is trained", {"accept_drift": "is neither true nor false"}) from None


def _report(checks: Sequence[Check]) -> None:
    """Log what failed, and refuse data with an error."""
    failed = [check for check in checks if not check.passed]
    errors = {check.check: check.detail for check in failed if check.severity == "error"}
    for check in failed:
        if check.severity == "warning":
            logger.warning("training data, %s: %s", check.check, check.detail)
    logger.info("training data: %d checks, %d errors, %d warnings", len(checks), len(errors), len(failed) - len(errors))
    if errors:
        raise InvalidInputError("the passengers failed checks, so no model is trained and what serves stays", errors)


def _train(df: pd.DataFrame, parameters: Parameters, repeats: int) -> tuple[Pipeline, dict[str, Any], Evaluation]:
    """Fit and evaluate a model; return it with what is known about it, and its evaluation."""
    started = time.perf_counter()
    pipeline = fit(df.loc[:, list(ATTRIBUTE_NAMES)], df[TARGET].to_numpy(), parameters)
    fitted = time.perf_counter()
    evaluation = evaluate(df, parameters, folds=FOLDS, repeats=repeats)
    evaluated = time.perf_counter()
    logger.info("a model is fitted: %s", _headline(evaluation))
    metadata = {
        "git_commit": registry.git_commit(REPO_PATH),
        "rows": len(df),
        "survivors": int(df[TARGET].sum()),
        "seconds": {"training": round(fitted - started, 3), "evaluation": round(evaluated - fitted, 3)},
        "metrics": evaluation.to_dict(),
        "fold_scores": fold_scores(evaluation),
        "profile": profile(df),
    }
    return pipeline, metadata, evaluation


def _card(metadata: Mapping[str, Any], pipeline: Pipeline, df: pd.DataFrame, evaluation: Evaluation) -> str | None:
    """Return the card, or None where it cannot be drawn: the model is as good without it."""
    try:
        return model_card(metadata, pipeline, df, evaluation.predictions)
    except Exception:
        logger.warning("model version %s has no card: it cannot be drawn", metadata["version"], exc_info=True)
        return None


def _promote(models_dir: Path, name: str, metadata: Mapping[str, Any], incumbent: Mapping[str, Any] | None) -> None:
    """Let the candidate serve, or say why it does not."""
    if registry.was_left_by_hand(models_dir, name):
        logger.warning("model version %s was replaced by hand and stays so", name)
        return
    verdict = judge(metadata, incumbent)
    if not verdict.accepted:
        logger.warning("model version %s is rejected, what serves stays: %s", name, "; ".join(verdict.reasons))
    elif registry.promote_in_place_of(models_dir, name, verdict.incumbent):
        logger.info("model version %s is promoted; %s", name, verdict.comparison)
    else:
        logger.warning("model version %s stays a candidate: what serves was changed while it was trained", name)


def _headline(evaluation: Evaluation) -> str:
    table = evaluation.table()
    own = table[table["classifier"] == MODEL]
    return ", ".join(f"{row.split} Brier {row.brier:.4f}, ROC AUC {row.roc_auc:.4f}" for row in own.itertuples())
