"""Versions of the model on disk: written whole or not at all, read with every check before use.

    models_dir/
        20250131T120000123456Z-1a2b3c4d/
            model.joblib      the fitted scikit-learn pipeline
            metadata.json     what it was made of and how good it is

Names sort by time. Only this program writes the folder; a model file is a pickle and must not come from
anywhere else.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from sklearn.pipeline import Pipeline

from workflows.errors import NotReadyError
from workflows.files import new_directory
from workflows.survival.features import FEATURE_NAMES, PassengerFeatures

logger = logging.getLogger(__name__)

FORMAT = 1
KEPT_VERSIONS = 10
MODEL_FILE = "model.joblib"
METADATA_FILE = "metadata.json"
LIBRARIES = ("scikit-learn", "xgboost", "numpy", "pandas", "joblib")
# A fitted model reads well in other releases of the other libraries.
_MUST_MATCH = ("scikit-learn", "xgboost")
_ABANDONED_SECONDS = 3600
_TIME = "%Y%m%dT%H%M%S%fZ"
_VERSION = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}")


class UnusableVersionError(Exception):
    """A version on disk cannot serve; the message says why."""


@dataclass(frozen=True)
class Version:
    """A version that passed every check."""

    name: str
    metadata: Mapping[str, Any]
    pipeline: Pipeline


def library_versions() -> dict[str, str]:
    """Versions that a model depends on, Python's included."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {"python": python} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def hash_data(df: pd.DataFrame) -> str:
    """SHA-256 of the content of a table, exact for floats; independent of the order of rows."""
    ordered = df.sort_values(list(df.columns[:1])).to_csv(index=False)
    return hashlib.sha256(ordered.encode()).hexdigest()


def hash_code() -> str:
    """SHA-256 of the modules that decide what a model is, whatever the state of version control."""
    package = Path(__file__).parent
    modules = [package.parent / "passengers.py", *sorted(package.glob("*.py"))]
    digest = hashlib.sha256()
    for module in modules:
        digest.update(module.name.encode() + b"\0" + module.read_bytes() + b"\0")
    return digest.hexdigest()


def fingerprint(ingredients: Mapping[str, Any]) -> str:
    """SHA-256 of everything that determines a model; equal fingerprints mean equal models."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


def version_names(models_dir: Path) -> list[str]:
    """Names of the versions on disk, good or not, the newest first."""
    try:
        with os.scandir(models_dir) as entries:
            return sorted((e.name for e in entries if _VERSION.fullmatch(e.name)), reverse=True)
    except FileNotFoundError:
        return []


def save(models_dir: Path, pipeline: Pipeline, metadata: Mapping[str, Any], fingerprint_: str) -> str:
    """Keep a fitted pipeline as the newest version, and drop versions beyond the last `KEPT_VERSIONS`.

    Safe under concurrent calls: each becomes a version of its own.

    Args:
        models_dir: Folder of all versions; made where it is missing.
        pipeline: What serves.
        metadata: JSON types; what is known about it. Name, time, format, checksum and library versions are added.
        fingerprint_: See `fingerprint`; the name ends with its start.

    Returns:
        The version's name.
    """
    while True:
        name = _next_name(models_dir, fingerprint_)
        try:
            with new_directory(models_dir / name) as folder:
                joblib.dump(pipeline, folder / MODEL_FILE)
                content = {
                    "version": name,
                    "format": FORMAT,
                    "created_utc": datetime.strptime(name.partition("-")[0], _TIME).replace(tzinfo=UTC).isoformat(),
                    "fingerprint": fingerprint_,
                    "model_sha256": _hash_file(folder / MODEL_FILE),
                    "features": list(FEATURE_NAMES),
                    "libraries": library_versions(),
                    **metadata,
                }
                (folder / METADATA_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
                for file in (MODEL_FILE, METADATA_FILE):
                    _synchronise(folder / file)
                # A temporary folder is private to its owner, as the versions need not be.
                folder.chmod(0o755)
        except OSError:
            # Another process took the same name in the same microsecond.
            if (models_dir / name).exists():
                continue
            raise
        _prune(models_dir)
        return name


def load(models_dir: Path, name: str) -> Version:
    """Read one version and check it: complete, unchanged, made for this code and these libraries.

    Raises:
        UnusableVersionError: says what is wrong with it.
    """
    folder = models_dir / name
    try:
        metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        if not isinstance(metadata, dict):
            raise UnusableVersionError(f"{METADATA_FILE} is not an object")
        _check(metadata, folder)
        pipeline = joblib.load(folder / MODEL_FILE)
    except UnusableVersionError:
        raise
    except FileNotFoundError as error:
        raise UnusableVersionError(f"{Path(error.filename).name} is missing") from error
    except Exception as error:
        # A damaged pickle may raise anything at all.
        raise UnusableVersionError(f"cannot be read ({type(error).__name__}: {error})") from error
    steps = getattr(pipeline, "named_steps", {})
    if not isinstance(steps.get("features"), PassengerFeatures) or "model" not in steps:
        raise UnusableVersionError(f"{MODEL_FILE} is not a survival model")
    # One row at a time is faster without a pool of threads, and predictions stay the same.
    steps["model"].get_booster().set_param({"nthread": 1})
    return Version(name, metadata, pipeline)


def usable_versions(models_dir: Path) -> Iterator[Version]:
    """Yield the versions that can serve, the newest first; the others are logged as warnings and skipped."""
    for name in version_names(models_dir):
        try:
            yield load(models_dir, name)
        except UnusableVersionError as error:
            logger.warning(
                "model version %s is skipped: %s; an older one serves where there is one, "
                "else run pipeline ml_training_and_inference",
                name,
                error,
            )


def serving_version(models_dir: Path) -> Version:
    """Return the version that answers: the newest usable one.

    Raises:
        NotReadyError: there is none.
    """
    version = next(usable_versions(models_dir), None)
    if version is None:
        raise NotReadyError("there is no survival model yet: run pipeline ml_training_and_inference first")
    return version


def _check(metadata: Mapping[str, Any], folder: Path) -> None:
    if metadata.get("format") != FORMAT:
        raise UnusableVersionError(f"format {metadata.get('format')!r}, this code reads {FORMAT}")
    if metadata.get("features") != list(FEATURE_NAMES):
        raise UnusableVersionError("made with other features than this code's")
    made_with, here = metadata.get("libraries") or {}, library_versions()
    for library in _MUST_MATCH:
        made = str(made_with.get(library))
        if made.split(".")[:2] != here[library].split(".")[:2]:
            raise UnusableVersionError(f"made with {library} {made}, here is {here[library]}")
    if metadata.get("model_sha256") != _hash_file(folder / MODEL_FILE):
        raise UnusableVersionError(f"{MODEL_FILE} is not the file that was written (checksum)")


def _next_name(models_dir: Path, fingerprint_: str) -> str:
    """A name that sorts after all others, also where the clock was set back."""
    moment = datetime.now(UTC)
    newest = next(iter(version_names(models_dir)), None)
    if newest is not None:
        last = datetime.strptime(newest.partition("-")[0], _TIME).replace(tzinfo=UTC)
        moment = max(moment, last + timedelta(microseconds=1))
    return f"{moment.strftime(_TIME)}-{fingerprint_[:8]}"


def _prune(models_dir: Path) -> None:
    """Drop old versions, and what processes that were killed while writing left behind."""
    for name in version_names(models_dir)[KEPT_VERSIONS:]:
        shutil.rmtree(models_dir / name, ignore_errors=True)
    for folder in models_dir.glob(".*Z-*"):
        try:
            if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _synchronise(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
