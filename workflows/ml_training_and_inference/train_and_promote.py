"""The training block: check the data, evaluate and fit the model, register it, and promote it if the rules allow."""

import hashlib
import importlib.metadata
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from workflows.common.errors import InvalidInputError
from workflows.ml_training_and_inference import registry, training_log
from workflows.ml_training_and_inference.artifact import UnusableVersionError
from workflows.ml_training_and_inference.checks import CheckResult, check_data, profile
from workflows.ml_training_and_inference.evaluation import MODEL, Evaluation, evaluate
from workflows.ml_training_and_inference.promotion import decide_promotion, fold_scores
from workflows.ml_training_and_inference.registry import Registry
from workflows.ml_training_and_inference.training import Parameters, fit
from workflows.passengers import contract
from workflows.passengers.contract import ATTRIBUTE_NAMES, ATTRIBUTES, COLUMN_NAMES, KEY, TARGET

logger = logging.getLogger(__name__)

FOLDS = 5
REPEATS = 5
PARAMETERS = Parameters()
LIBRARIES = ("scikit-learn", "xgboost", "numpy", "pandas")
EXAMPLE_ROWS = 5


def train_survival_model(
    df: pd.DataFrame,
    models_dir: Path,
    parameters: Parameters = PARAMETERS,
    repeats: int = REPEATS,
    accept_drift: bool | str = False,
    *,
    tracking_uri: str | None = None,
    source: str = "",
) -> pd.DataFrame:
    """Check the data, evaluate and fit the model, register it in MLflow, and promote it if the rules allow.

    If a version with the same data, code, parameters and libraries exists, nothing is trained: the result would be the
    same. That version is compared again, because another one may serve now. A version that a person has replaced is not
    promoted again.

    Args:
        df: One row per passenger, with the canonical columns.
        models_dir: Folder of the kept champion and of MLflow's store.
        parameters: Parameters of the model.
        repeats: How often the cross-validation is repeated, with different folds each time.
        accept_drift: Whether to train on data that differ strongly from those of the champion. Text such as "true" is
            accepted.
        tracking_uri: See `Registry`.
        source: Where the passengers come from, as MLflow shows it.

    Returns:
        One row per split and classifier: mean and spread of each metric, the number of passengers, the version and its
        `model_status` (see `registry.Status`).

    Raises:
        InvalidInputError: `.fields` names each failed check, or `accept_drift`; the champion stays.
        NotReadyError: another training has not finished before the timeout.
        ServiceError: MLflow cannot be used.
    """
    models = Registry(models_dir, tracking_uri)
    champion = _champion_record(models)
    checks = check_data(df, champion and champion["profile"], FOLDS, _parse_boolean(accept_drift))
    _log_checks(checks)
    ordered = df.loc[:, list(COLUMN_NAMES)].sort_values(KEY, ignore_index=True)
    ingredients = {
        "data_sha256": hash_data(ordered),
        "code_sha256": hash_code(),
        "parameters": asdict(parameters),
        "evaluation": {"folds": FOLDS, "repeats": repeats},
        "libraries": library_versions(),
    }
    fingerprint = hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()
    with models.training_lock():
        champion = _champion_record(models)
        existing = models.find(fingerprint)
        if existing is None:
            _say_if_older_release(models, champion)
            evaluation = evaluate(ordered, parameters, folds=FOLDS, repeats=repeats)
            logger.info("a model is evaluated: %s", _main_metrics(evaluation))
            record: dict[str, Any] = {
                **ingredients,
                "rows": len(ordered),
                "survivors": int(ordered[TARGET].sum()),
                "metrics": evaluation.table().to_dict("records"),
                "fold_scores": fold_scores(evaluation),
                "profile": profile(ordered),
                "checks": [asdict(check) for check in checks],
            }
            record["promotion"] = asdict(decide_promotion(record, champion))
            record |= {"fingerprint": fingerprint, "source": source}
            number = _register(models, ordered, parameters, evaluation, record)
        else:
            number, record = str(existing.version), models.record(existing)
            logger.info("nothing is trained: version %s has the same data, code, parameters and libraries", number)
        _promote_if_accepted(models, number, record, champion, existing)
    version = models.get(number)
    status = registry.status(version, version.aliases)
    table = pd.DataFrame(record["metrics"]).round(4)
    return table.assign(passengers=record["rows"], model_version=number, model_status=status)


def hash_data(df: pd.DataFrame) -> str:
    """Return the SHA-256 of a table's content, floats at full precision; the order of rows does not matter."""
    ordered = df.sort_values(list(df.columns[:1])).to_csv(index=False)
    return hashlib.sha256(ordered.encode()).hexdigest()


def hash_code() -> str:
    """Return the SHA-256 of this package and of the one that reads passengers, with changes that are not committed."""
    digest = hashlib.sha256()
    for module in (__file__, contract.__file__):
        for path in sorted(Path(module).parent.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Return the releases of Python and of the libraries that a model depends on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def _champion_record(models: Registry) -> dict[str, Any] | None:
    """Return the record of the champion, None if there is none that can be read."""
    champion = models.champion()
    if champion is None:
        return None
    try:
        return models.record(champion)
    except UnusableVersionError as error:
        logger.warning("model version %s is not compared with: %s", champion.version, error)
        return None


def _say_if_older_release(models: Registry, champion: Mapping[str, Any] | None) -> None:
    if champion is None and (models.models_dir / "serving.json").exists():
        logger.info(
            "the versions in %s are of a release without MLflow and are not used any more: the model is trained anew; "
            "serving.json and the folders named by a time can be removed",
            models.models_dir,
        )


def _register(
    models: Registry,
    df: pd.DataFrame,
    parameters: Parameters,
    evaluation: Evaluation,
    record: Mapping[str, Any],
) -> str:
    """Fit the model, log it to a run of MLflow with what it is compared by, and return the number of its version."""
    X = df.loc[:, list(ATTRIBUTE_NAMES)]
    numbers = [column.name for column in ATTRIBUTES if column.kind != "text"]
    example = X.astype(dict.fromkeys(numbers, float)).dropna(how="all").head(EXAMPLE_ROWS)
    pipeline = fit(X, df[TARGET].to_numpy(), parameters)
    releases = {name: release for name, release in record["libraries"].items() if name != "python"}
    reasons = record["promotion"]["reasons"]
    tags = {name: record[name] for name in ("data_sha256", "code_sha256", "fingerprint")}
    with models.run("training", training_log.source_tags()) as run_id:
        models.log(
            run_id,
            {**asdict(parameters), **record["evaluation"], "rows": record["rows"], "survivors": record["survivors"]},
            training_log.metrics_of(evaluation, MODEL),
            {**tags, "promotion": "; ".join(reasons) or "accepted"},
        )
        models.log_data(run_id, df, record["source"], record["data_sha256"][:32])
        texts = training_log.mlflow_model(pipeline, example, releases) | evaluation.to_texts()
        models.log_texts(run_id, texts | {registry.RECORD_FILE: json.dumps(record, indent=2)})
        return models.add_version(run_id, record["fingerprint"], reasons)


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
        raise InvalidInputError("the passengers failed checks: no model is trained, the champion stays", errors)


def _promote_if_accepted(
    models: Registry,
    number: str,
    record: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    existing: registry.ModelVersion | None,
) -> None:
    """Promote the candidate, or log why it is not promoted."""
    if champion is not None and champion["version"] == number:
        models.refresh()
        return
    if existing is not None and registry.was_replaced_by_hand(existing):
        logger.warning("model version %s was replaced by hand and is not promoted again", number)
        return
    decision = decide_promotion(record, champion)
    if not decision.accepted:
        logger.warning("model version %s is rejected, the champion stays: %s", number, "; ".join(decision.reasons))
    elif models.promote(number, decision.incumbent, by_training=True):
        logger.info("model version %s is promoted; %s", number, decision.comparison)
    else:
        logger.warning("model version %s stays the challenger: the champion changed during training", number)


def _main_metrics(evaluation: Evaluation) -> str:
    table = evaluation.table()
    own = table[table["classifier"] == MODEL]
    return ", ".join(f"{row.split} Brier {row.brier:.4f}, ROC AUC {row.roc_auc:.4f}" for row in own.itertuples())
