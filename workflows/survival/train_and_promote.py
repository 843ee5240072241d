"""The training block: check the data, evaluate and fit the model, save it, and promote it if the rules allow."""

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
from workflows.survival.checks import CheckResult, check_data, profile
from workflows.survival.evaluation import MODEL, Evaluation, evaluate
from workflows.survival.promotion import decide_promotion, fold_scores
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
    """Check the data, evaluate and fit the model, save it as a candidate, and promote it if the rules allow.

    If a version with the same data, code, parameters and libraries exists, nothing is trained: the result would be the
    same. That version is compared again, because another one may serve now. A version that a person has replaced is not
    promoted again.

    Args:
        df: One row per passenger, with the canonical columns.
        models_dir: Folder of the versions.
        parameters: Parameters of the model.
        repeats: How often the cross-validation is repeated, with different folds each time.
        accept_drift: Whether to train on data that differ strongly from those of the serving version. Text such as
            "true" is accepted.

    Returns:
        One row per split and classifier: mean and spread of each metric, the number of passengers, the version and its
        `model_status` (see `registry.Status`).

    Raises:
        InvalidInputError: `.fields` names each failed check, or `accept_drift`; the serving version stays.
        NotReadyError: another training has not finished before the timeout.
    """
    checks = check_data(df, registry.serving_profile(models_dir), FOLDS, _parse_boolean(accept_drift))
    _log_checks(checks)
    ordered = df.loc[:, list(COLUMN_NAMES)].sort_values(KEY, ignore_index=True)
    ingredients = {
        "data_sha256": registry.hash_data(ordered),
        "code_sha256": registry.hash_code(),
        "parameters": asdict(parameters),
        "evaluation": {"folds": FOLDS, "repeats": repeats},
        "libraries": registry.library_versions(),
    }
    fingerprint = registry.compute_fingerprint(ingredients)
    with registry.training_lock(models_dir):
        serving = next(registry.usable_versions(models_dir), None)
        incumbent = serving.metadata if serving else None
        existing = registry.find_by_fingerprint(models_dir, fingerprint)
        if existing is None:
            pipeline, metadata, evaluation = _fit_and_evaluate(ordered, parameters, repeats)
            metadata |= {**ingredients, "checks": [asdict(check) for check in checks]}
            metadata["promotion"] = asdict(decide_promotion(metadata, incumbent))
            files = {CARD_FILE: lambda complete: _render_card(complete, pipeline, ordered, evaluation)}
            name = registry.save(models_dir, pipeline, metadata, fingerprint, files)
        else:
            name, metadata = existing.name, dict(existing.metadata)
            logger.info("model version %s has the same data, code, parameters and libraries: nothing is trained", name)
        if serving is None or serving.name != name:
            _promote_if_accepted(models_dir, name, metadata, incumbent)
    return evaluation_table(name, metadata, registry.status(models_dir, name))


def evaluation_table(version: str, metadata: Mapping[str, Any], status: str) -> pd.DataFrame:
    """Return the metrics of a version; each row also has the number of passengers, the version and its status."""
    table = pd.DataFrame(metadata["metrics"]["table"])
    return table.round(4).assign(passengers=metadata["rows"], model_version=version, model_status=status)


def calibration(models_dir: Path, version: str) -> pd.DataFrame:
    """Return mean predicted probability and share of survivors by bin, of the stratified split.

    See `evaluation.Evaluation.calibration`.
    """
    return pd.DataFrame(registry.read_metadata(models_dir, version)["metrics"]["calibration"]["stratified"])


def with_card(table: pd.DataFrame, models_dir: Path) -> list[pd.DataFrame]:
    """Return the table of `train_survival_model` and the model card of its version for Mage's UI.

    If the version has no card, only the table is returned.
    """
    version = str(table["model_version"].iloc[0])
    try:
        html = (models_dir / version / CARD_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return [table]
    return [table, as_block_output(html, version)]


def _parse_boolean(accept_drift: bool | str) -> bool:
    try:
        return TypeAdapter(bool).validate_python(accept_drift)
    except ValidationError:
        raise InvalidInputError("no model is trained", {"accept_drift": "must be true or false"}) from None


def _log_checks(checks: Sequence[CheckResult]) -> None:
    """Log failed checks; raise if one of them is an error."""
    failed = [check for check in checks if not check.passed]
    errors = {check.name: check.detail for check in failed if check.severity == "error"}
    for check in failed:
        if check.severity == "warning":
            logger.warning("training data, %s: %s", check.name, check.detail)
    logger.info("training data: %d checks, %d errors, %d warnings", len(checks), len(errors), len(failed) - len(errors))
    if errors:
        raise InvalidInputError("the passengers failed checks: no model is trained, the serving version stays", errors)


def _fit_and_evaluate(
    df: pd.DataFrame, parameters: Parameters, repeats: int
) -> tuple[Pipeline, dict[str, Any], Evaluation]:
    """Fit and evaluate a model; return it with its metadata and its evaluation."""
    started = time.perf_counter()
    pipeline = fit(df.loc[:, list(ATTRIBUTE_NAMES)], df[TARGET].to_numpy(), parameters)
    fitted = time.perf_counter()
    evaluation = evaluate(df, parameters, folds=FOLDS, repeats=repeats)
    evaluated = time.perf_counter()
    logger.info("a model is fitted: %s", _main_metrics(evaluation))
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


def _render_card(
    metadata: Mapping[str, Any], pipeline: Pipeline, df: pd.DataFrame, evaluation: Evaluation
) -> str | None:
    """Return the model card. If it cannot be rendered, log a warning and return None: the model is saved without it."""
    try:
        return model_card(metadata, pipeline, df, evaluation.predictions)
    except Exception:
        logger.warning("model version %s has no card: it cannot be rendered", metadata["version"], exc_info=True)
        return None


def _promote_if_accepted(
    models_dir: Path, name: str, metadata: Mapping[str, Any], incumbent: Mapping[str, Any] | None
) -> None:
    """Promote the candidate, or log why it is not promoted."""
    if registry.was_replaced_by_hand(models_dir, name):
        logger.warning("model version %s was replaced by hand and is not promoted again", name)
        return
    decision = decide_promotion(metadata, incumbent)
    if not decision.accepted:
        logger.warning("model version %s is rejected, the serving version stays: %s", name, "; ".join(decision.reasons))
    elif registry.promote_if_still_serving(models_dir, name, decision.incumbent):
        logger.info("model version %s is promoted; %s", name, decision.comparison)
    else:
        logger.warning("model version %s stays a candidate: the serving version changed during training", name)


def _main_metrics(evaluation: Evaluation) -> str:
    table = evaluation.table()
    own = table[table["classifier"] == MODEL]
    return ", ".join(f"{row.split} Brier {row.brier:.4f}, ROC AUC {row.roc_auc:.4f}" for row in own.itertuples())
