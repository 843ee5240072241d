"""Versions of the model on disk: written completely or not at all, and checked before they are used.

    models_dir/
        serving.json          history of the serving version: since when and why, the newest entry last
        20250131T120000123456Z-1a2b3c4d/
            model.joblib      the fitted scikit-learn pipeline
            metadata.json     data, code, parameters, metrics and checks of the version

Names sort by creation time. A version serves once it is promoted. If the promoted version cannot be used, the version
promoted before it serves. `serving.json` is replaced atomically and under a lock, so a process that is killed leaves
either the old state or the new one. A model file is a pickle: load only files that this program has written.
"""

import errno
import hashlib
import importlib.metadata
import itertools
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from sklearn.pipeline import Pipeline

from workflows.common.errors import NotReadyError
from workflows.common.files import new_directory, write_text_atomically
from workflows.common.retention import Retention, remove_old
from workflows.sql_python.passengers import ATTRIBUTE_NAMES, Value, as_frame
from workflows.survival.features import FEATURE_NAMES, PassengerFeatures

logger = logging.getLogger(__name__)

KEPT_VERSIONS = 10
MODEL_FILE = "model.joblib"
METADATA_FILE = "metadata.json"
POINTER_FILE = "serving.json"
BROKEN_POINTER_FILE = "serving.json.broken"
LIBRARIES = ("scikit-learn", "xgboost", "numpy", "pandas", "joblib")
# Major and minor release must be those that the model was fitted with; the other libraries may differ.
_LIBRARIES_THAT_MUST_MATCH = ("scikit-learn", "xgboost")
# Age at which a temporary file is removed: the process that wrote it was killed.
_ABANDONED_SECONDS = 3600
_TIME_FORMAT = "%Y%m%dT%H%M%S%fZ"
_VERSION_NAME = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}")
# Modules that determine the model and its metrics; a change in another module makes no new version.
_MODEL_MODULES = (
    "sql_python/passengers.py",
    "survival/evaluation.py",
    "survival/features.py",
    "survival/training.py",
)
_KEPT_HISTORY_ENTRIES = 200
_LOCK_SECONDS = 60.0
_TRAINING_LOCK_SECONDS = 900.0

# Reasons why a version serves, as `serving.json` holds them.
PROMOTED = "promoted"
PROMOTED_BY_HAND = "promoted by hand"
ROLLED_BACK = "rolled back"

Status = Literal["serving", "served before", "candidate", "rejected", "unusable", "gone"]

# Invented passengers. A loaded version must predict for them what it predicted when it was saved.
_PROBE_PASSENGERS: tuple[tuple[Value, ...], ...] = (
    (1, "Probe, Mrs. A", "female", 38.0, 1, 0, "probe 1", 80.0, "C85", "C"),
    (3, "Probe, Mr. B", "male", 22.0, 0, 0, "probe 2", 7.25, None, "S"),
    (2, "Probe, Master. C", "male", 4.0, 1, 2, "probe 3", 26.0, "F2", "Q"),
    (1, "Probe, Dr. D", "male", 61.0, 0, 4, "probe 4", 0.0, "A10", "S"),
    (None,) * len(ATTRIBUTE_NAMES),
)
# Invented companion of known passengers, so that the check covers what was learned about tickets. Nobody has this age.
_COMPANION: Mapping[str, Value] = dict(
    zip(ATTRIBUTE_NAMES, (3, "Probe, Mrs. E", "female", 33.25, 0, 0, None, 15.0, None, "S"), strict=True)
)
_PROBE_TICKETS = 3
# Floating-point sums may differ slightly between processors.
_PROBE_TOLERANCE = 1e-4
# Exceptions raised by reading a damaged `serving.json`.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError)
# Temporary lack of resources, which says nothing about the version.
_TRANSIENT_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR})


class UnusableVersionError(Exception):
    """A version on disk cannot serve; the message says why."""


@dataclass(frozen=True)
class HistoryEntry:
    """One change of the serving version.

    Attributes:
        version: The version that serves from then on.
        since_utc: Time of the change, ISO 8601.
        why: `PROMOTED`, `PROMOTED_BY_HAND` or `ROLLED_BACK`.
    """

    version: str
    since_utc: str
    why: str

    def describe(self) -> str:
        """Return reason and time for people."""
        return f"{self.why} {self.since_utc[:16].replace('T', ' ')}"


@dataclass(frozen=True)
class VersionSummary:
    """A version on disk with its status.

    Attributes:
        name: The version.
        status: Its status.
        note: The reason for the status, empty for a candidate.
        metadata: Its metadata, empty if they cannot be read.
    """

    name: str
    status: Status
    note: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Version:
    """A version that passed every check."""

    name: str
    metadata: Mapping[str, Any]
    pipeline: Pipeline


def library_versions() -> dict[str, str]:
    """Return the releases of Python and of the libraries that a model depends on."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {"python": python} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def hash_data(df: pd.DataFrame) -> str:
    """Return the SHA-256 of a table's content, floats at full precision; the order of rows does not matter."""
    ordered = df.sort_values(list(df.columns[:1])).to_csv(index=False)
    return hashlib.sha256(ordered.encode()).hexdigest()


def hash_code() -> str:
    """Return the SHA-256 of the modules that determine a model, including changes that are not committed."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for module in _MODEL_MODULES:
        digest.update(module.encode() + b"\0" + (package / module).read_bytes() + b"\0")
    return digest.hexdigest()


def git_commit(folder: Path) -> str | None:
    """Return the commit checked out in a folder, None if it cannot be read. Does not need git to be installed."""
    git = folder / ".git"
    try:
        if git.is_file():
            # In a worktree `.git` is a file that names the folder; most references are in the main repository.
            git = folder / git.read_text(encoding="utf-8").partition(":")[2].strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        common = git / "commondir"
        shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
        if (shared / reference).is_file():
            return (shared / reference).read_text(encoding="utf-8").strip()
        for line in (shared / "packed-refs").read_text(encoding="utf-8").splitlines():
            if line.endswith(f" {reference}"):
                return line.split()[0]
    except (OSError, UnicodeDecodeError):
        pass
    return None


def compute_fingerprint(ingredients: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything that determines a model; equal fingerprints mean equal models."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


def version_names(models_dir: Path) -> list[str]:
    """Return the names of all versions on disk, usable or not, the newest first."""
    try:
        with os.scandir(models_dir) as entries:
            return sorted((e.name for e in entries if _VERSION_NAME.fullmatch(e.name)), reverse=True)
    except FileNotFoundError:
        return []


def created_at(name: str) -> datetime:
    """Return the creation time, which is part of a version's name."""
    return datetime.strptime(name.partition("-")[0], _TIME_FORMAT).replace(tzinfo=UTC)


def save(
    models_dir: Path,
    pipeline: Pipeline,
    metadata: Mapping[str, Any],
    fingerprint: str,
    files: Mapping[str, Callable[[Mapping[str, Any]], str | None]] | None = None,
) -> str:
    """Save a fitted pipeline as a new candidate, and remove the oldest versions beyond `KEPT_VERSIONS`.

    The serving version and the one that would serve next are never removed. Concurrent calls each save a version.

    Args:
        models_dir: Folder of all versions; created if it is missing.
        pipeline: The fitted pipeline.
        metadata: JSON types. Name, creation time, checksum, library versions and probe predictions are added.
        fingerprint: See `compute_fingerprint`; its first eight digits end the version's name.
        files: Additional text files, `{file name: function}`. The function gets the complete metadata and returns the
            text, or None to write no file.

    Returns:
        The version's name.
    """
    while True:
        name = _new_name(models_dir, fingerprint)
        try:
            with new_directory(models_dir / name) as folder:
                joblib.dump(pipeline, folder / MODEL_FILE)
                content = {
                    "version": name,
                    "created_utc": created_at(name).isoformat(),
                    "fingerprint": fingerprint,
                    "model_sha256": _hash_file(folder / MODEL_FILE),
                    "features": list(FEATURE_NAMES),
                    "libraries": library_versions(),
                    "probe": _probe(pipeline),
                    **metadata,
                }
                texts = {name: text(content) for name, text in (files or {}).items()}
                texts[METADATA_FILE] = json.dumps(content, indent=2) + "\n"
                for file, text in texts.items():
                    if text is not None:
                        (folder / file).write_text(text, encoding="utf-8")
                for path in folder.iterdir():
                    _sync_to_disk(path)
        except OSError:
            # Another process took the same name in the same microsecond.
            if (models_dir / name).exists():
                continue
            raise
        with _lock(models_dir):
            _remove_old_versions(models_dir)
        return name


def read_metadata(models_dir: Path, name: str) -> dict[str, Any]:
    """Read the metadata of a version, whether or not it can serve.

    Raises:
        UnusableVersionError: the metadata are missing or damaged.
        OSError: a temporary lack of resources, such as too many open files.
    """
    try:
        metadata = json.loads((models_dir / name / METADATA_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnusableVersionError(f"{METADATA_FILE} is missing") from error
    except (OSError, ValueError) as error:
        if _is_transient(error):
            raise
        raise UnusableVersionError(f"{METADATA_FILE} cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(metadata, dict):
        raise UnusableVersionError(f"{METADATA_FILE} is not an object")
    return metadata


def load(models_dir: Path, name: str) -> Version:
    """Load one version and check that it is complete, unchanged, and compatible with this code and its libraries.

    Raises:
        UnusableVersionError: says what is wrong with the version.
        OSError, MemoryError: a temporary lack of resources.
    """
    folder = models_dir / name
    metadata = read_metadata(models_dir, name)
    try:
        _check_metadata(metadata, folder)
        pipeline = joblib.load(folder / MODEL_FILE)
    except UnusableVersionError:
        raise
    except FileNotFoundError as error:
        raise UnusableVersionError(f"{Path(error.filename).name} is missing") from error
    except Exception as error:
        if _is_transient(error):
            raise
        # A damaged pickle may raise any exception.
        raise UnusableVersionError(f"cannot be read ({type(error).__name__}: {error})") from error
    steps = getattr(pipeline, "named_steps", {})
    if not isinstance(steps.get("features"), PassengerFeatures) or "model" not in steps:
        raise UnusableVersionError(f"{MODEL_FILE} is not a survival model")
    # A single thread is faster for one row, and gives the same predictions.
    steps["model"].get_booster().set_param({"nthread": 1})
    _check_probe(metadata, pipeline)
    # The folder's name counts: a restored version may have another name than before.
    return Version(name, {**metadata, "version": name}, pipeline)


def usable_versions(models_dir: Path) -> Iterator[Version]:
    """Yield the usable versions: the promoted one, then those promoted before it, then others that were not rejected.

    Other versions come newest first. Unusable versions are skipped with a warning in the log.
    """
    for name in _serving_order(models_dir, history(models_dir)):
        try:
            yield load(models_dir, name)
        except UnusableVersionError as error:
            logger.warning(
                "model version %s is skipped: %s; the last usable version serves instead. "
                "If there is none, run pipeline ml_training_and_inference",
                name,
                error,
            )


def serving_version(models_dir: Path) -> Version:
    """Return the promoted version or, if it cannot be used, the next of `usable_versions`.

    Raises:
        NotReadyError: there is no usable version.
    """
    version = next(usable_versions(models_dir), None)
    if version is None:
        kept = len(version_names(models_dir))
        problem = (
            f"none of the {kept} versions can serve (see make models)" if kept else "there is no survival model yet"
        )
        raise NotReadyError(f"{problem}: run pipeline ml_training_and_inference")
    return version


def find_by_fingerprint(models_dir: Path, fingerprint: str) -> Version | None:
    """Return the newest usable version with this fingerprint."""
    for name in version_names(models_dir):
        if name.endswith(fingerprint[:8]):
            try:
                version = load(models_dir, name)
            except UnusableVersionError:
                continue
            if version.metadata.get("fingerprint") == fingerprint:
                return version
    return None


def history(models_dir: Path) -> list[HistoryEntry]:
    """Return the changes of the serving version, the oldest first; empty before the first promotion."""
    try:
        return _read_pointer(models_dir)
    except FileNotFoundError:
        return []
    except _UNREADABLE as error:
        if _is_transient(error):
            raise
        logger.warning(
            "%s cannot be read (%s: %s): the newest version that was not rejected serves until one is promoted",
            POINTER_FILE,
            type(error).__name__,
            error,
        )
        return []


def promote(models_dir: Path, name: str, why: str = PROMOTED_BY_HAND) -> None:
    """Make a version the serving one, whether or not it was rejected.

    Raises:
        UnusableVersionError: the version cannot serve; nothing has changed.
    """
    with _lock(models_dir):
        load(models_dir, name)
        _write_pointer(models_dir, name, why)


def promote_if_still_serving(models_dir: Path, name: str, incumbent: str | None) -> bool:
    """Promote a version unless the serving version has changed since they were compared.

    Args:
        models_dir: Folder of all versions.
        name: The candidate.
        incumbent: The version that it was compared with, None if there was none.

    Returns:
        Whether the candidate serves now.

    Raises:
        UnusableVersionError: the candidate cannot serve; nothing has changed.
    """
    with _lock(models_dir):
        current = next(usable_versions(models_dir), None)
        if current is not None and current.name not in {incumbent, name}:
            return False
        load(models_dir, name)
        _write_pointer(models_dir, name, PROMOTED)
        return True


def roll_back(models_dir: Path) -> tuple[str, str]:
    """Promote the last usable version that served before the present one.

    Rolling back again goes back one version further.

    Returns:
        The version that served until now, and the one that serves now.

    Raises:
        NotReadyError: no usable version served before; nothing has changed.
    """
    with _lock(models_dir):
        stack = _promotion_stack(history(models_dir))
        for name in reversed(stack[:-1]):
            try:
                load(models_dir, name)
            except UnusableVersionError as error:
                logger.warning("model version %s is skipped: %s", name, error)
                continue
            _write_pointer(models_dir, name, ROLLED_BACK)
            return stack[-1], name
    raise NotReadyError("there is no usable version that served before")


def was_replaced_by_hand(models_dir: Path, name: str) -> bool:
    """Tell whether a person replaced this version by another one; training must not promote it again."""
    entries = history(models_dir)
    successors = [after.why for entry, after in itertools.pairwise(entries) if entry.version == name]
    is_last = bool(entries) and entries[-1].version == name
    return not is_last and successors[-1:] in ([PROMOTED_BY_HAND], [ROLLED_BACK])


def serving_profile(models_dir: Path) -> dict[str, Any] | None:
    """Return the profile (`checks.profile`) of the data that the serving version was trained on.

    Only metadata are read, so a version that cannot be loaded still counts. If a version has no profile, the one that
    would serve next is asked; None if no version has a profile.
    """
    for name in _serving_order(models_dir, history(models_dir)):
        try:
            kept = read_metadata(models_dir, name).get("profile")
        except UnusableVersionError:
            continue
        if kept is not None:
            return kept
    return None


def list_versions(models_dir: Path) -> list[VersionSummary]:
    """Return the versions on disk with their status, the newest first."""
    entries = history(models_dir)
    problems = {name: _reason_unusable(models_dir, name) for name in version_names(models_dir)}
    order = _serving_order(models_dir, entries)
    serving = next((name for name in order if name in problems and problems[name] is None), None)
    return [_summarize(models_dir, name, problem, serving, entries) for name, problem in problems.items()]


def status(models_dir: Path, name: str) -> Status:
    """Return the status of one version. Loads only this version and those that would serve before it."""
    if name not in version_names(models_dir):
        return "gone"
    entries = history(models_dir)
    order = _serving_order(models_dir, entries)
    serving = next((other for other in order if _reason_unusable(models_dir, other) is None), None)
    problem = None if name == serving else _reason_unusable(models_dir, name)
    return _summarize(models_dir, name, problem, serving, entries).status


@contextmanager
def training_lock(models_dir: Path) -> Iterator[None]:
    """Let one process train at a time, so that no two processes save the same version.

    Raises:
        NotReadyError: another training has not finished before the timeout.
    """
    with _lock(models_dir, "training", _TRAINING_LOCK_SECONDS):
        yield


def _reason_unusable(models_dir: Path, name: str) -> str | None:
    """Return why a version cannot serve, None if it can."""
    try:
        load(models_dir, name)
    except UnusableVersionError as error:
        return str(error)
    return None


def _summarize(
    models_dir: Path, name: str, problem: str | None, serving: str | None, entries: Sequence[HistoryEntry]
) -> VersionSummary:
    """Describe a version, given the reason why it is unusable (None if it is usable) and the serving version."""
    try:
        metadata: Mapping[str, Any] = read_metadata(models_dir, name)
    except UnusableVersionError:
        metadata = {}
    last_entries = {entry.version: entry for entry in entries}
    status: Status
    if problem is not None:
        status, note = "unusable", problem
    elif name == serving:
        status = "serving"
        note = last_entries[name].describe() if name in last_entries else "no promoted version is usable"
    elif name in last_entries:
        status, note = "served before", last_entries[name].describe()
    elif _was_rejected(models_dir, name):
        status, note = "rejected", "; ".join(metadata["promotion"]["reasons"])
    else:
        status, note = "candidate", ""
    return VersionSummary(name, status, note, metadata)


def _check_metadata(metadata: Mapping[str, Any], folder: Path) -> None:
    if metadata.get("features") != list(FEATURE_NAMES):
        raise UnusableVersionError("its features are not those of this code")
    trained_with, installed = metadata.get("libraries") or {}, library_versions()
    for library in _LIBRARIES_THAT_MUST_MATCH:
        release = str(trained_with.get(library))
        if release.split(".")[:2] != installed[library].split(".")[:2]:
            raise UnusableVersionError(f"trained with {library} {release}, installed is {installed[library]}")
    if metadata.get("model_sha256") != _hash_file(folder / MODEL_FILE):
        raise UnusableVersionError(f"the checksum of {MODEL_FILE} differs from the one in {METADATA_FILE}")


def _probe(pipeline: Pipeline) -> list[float]:
    """Predict the invented passengers, then invented companions of known passengers."""
    features = pipeline["features"]
    shared = sorted(ticket for ticket, holders in features.companions_.items() if len(holders) > 1)
    passengers = [
        *(dict(zip(ATTRIBUTE_NAMES, values, strict=True)) for values in _PROBE_PASSENGERS),
        *({**_COMPANION, "ticket": ticket} for ticket in shared[:_PROBE_TICKETS]),
    ]
    for passenger in passengers:
        # Predictions do not call it, but every answer to a caller does.
        features.unseen(passenger)
    return [float(probability) for probability in pipeline.predict_proba(as_frame(passengers))[:, 1]]


def _check_probe(metadata: Mapping[str, Any], pipeline: Pipeline) -> None:
    """Refuse a model that predicts differently with this code than with the code that trained it."""
    try:
        now = _probe(pipeline)
    except Exception as error:
        if _is_transient(error):
            raise
        # Code that expects other fitted attributes may raise any exception.
        raise UnusableVersionError(f"cannot predict with this code ({type(error).__name__}: {error})") from error
    saved = metadata.get("probe", [])
    if len(saved) != len(now) or not np.allclose(now, saved, rtol=0, atol=_PROBE_TOLERANCE):
        raise UnusableVersionError("predicts differently with this code than with the code that trained it")


def _is_transient(error: Exception) -> bool:
    """Tell whether a retry may succeed, so that the error says nothing about what was read."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS)


def _serving_order(models_dir: Path, entries: Sequence[HistoryEntry]) -> list[str]:
    """Return the names of versions in the order in which they serve. Only the first one may be missing on disk."""
    on_disk = version_names(models_dir)
    others = (name for name in on_disk if not _was_rejected(models_dir, name))
    names = dict.fromkeys([*reversed(_promotion_stack(entries)), *others])
    return [name for position, name in enumerate(names) if position == 0 or name in on_disk]


def _promotion_stack(entries: Iterable[HistoryEntry]) -> list[str]:
    """Return the versions that were promoted and not rolled back, each once; the last one serves."""
    stack: list[str] = []
    for entry in entries:
        if entry.why == ROLLED_BACK and entry.version in stack:
            while stack[-1] != entry.version:
                stack.pop()
        else:
            # A version promoted twice is listed once, so that two roll backs do not lead back to it.
            if entry.version in stack:
                stack.remove(entry.version)
            stack.append(entry.version)
    return stack


def _read_pointer(models_dir: Path) -> list[HistoryEntry]:
    """Read `serving.json`; raises any of `_UNREADABLE`."""
    content = json.loads((models_dir / POINTER_FILE).read_text(encoding="utf-8"))
    entries = [HistoryEntry(**entry) for entry in content["history"]]
    if not all(_VERSION_NAME.fullmatch(entry.version) for entry in entries):
        raise ValueError("an entry does not name a version")
    return entries


def _back_up_broken_pointer(models_dir: Path) -> None:
    """Copy a `serving.json` that cannot be read, so that its history can be repaired by hand."""
    try:
        _read_pointer(models_dir)
    except FileNotFoundError:
        pass
    except _UNREADABLE:
        shutil.copyfile(models_dir / POINTER_FILE, models_dir / BROKEN_POINTER_FILE)
        logger.warning("%s is kept as %s", POINTER_FILE, BROKEN_POINTER_FILE)


def _write_pointer(models_dir: Path, name: str, why: str) -> None:
    """Add an entry to `serving.json`, unless the version serves already. The caller holds the lock."""
    entries = history(models_dir)
    if entries and entries[-1].version == name:
        return
    entries = [*entries, HistoryEntry(name, datetime.now(UTC).isoformat(), why)][-_KEPT_HISTORY_ENTRIES:]
    content = {"history": [asdict(entry) for entry in entries]}
    _back_up_broken_pointer(models_dir)
    write_text_atomically(models_dir / POINTER_FILE, json.dumps(content, indent=2) + "\n")


def _was_rejected(models_dir: Path, name: str) -> bool:
    """Tell whether the promotion rules rejected a version; False if its metadata cannot be read."""
    try:
        decision = read_metadata(models_dir, name).get("promotion")
    except UnusableVersionError:
        return False
    return isinstance(decision, dict) and decision.get("accepted") is False


@contextmanager
def _lock(models_dir: Path, name: str = "serving", timeout_seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    models_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(models_dir / f".{name}.lock", timeout=timeout_seconds)
    try:
        lock.acquire()
    except Timeout:
        raise NotReadyError(
            f"another process has held {lock.lock_file} for {timeout_seconds:g} s: wait until it has finished"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _new_name(models_dir: Path, fingerprint: str) -> str:
    """Return a name that sorts after all others, even if the clock was set back."""
    moment = datetime.now(UTC)
    newest = next(iter(version_names(models_dir)), None)
    if newest is not None:
        moment = max(moment, created_at(newest) + timedelta(microseconds=1))
    return f"{moment.strftime(_TIME_FORMAT)}-{fingerprint[:8]}"


def _remove_old_versions(models_dir: Path) -> None:
    """Remove old versions, and temporary files of processes that were killed. The caller holds the lock."""
    names = version_names(models_dir)
    protected = {names[0], *_protected_versions(models_dir)} if len(names) > KEPT_VERSIONS else set()
    versions = [models_dir / name for name in names]
    remove_old(versions, Retention(keep=KEPT_VERSIONS), is_protected=lambda path: path.name in protected)
    temporary = [path for pattern in (".*Z-*", f".{POINTER_FILE}.*") for path in models_dir.glob(pattern)]
    remove_old(temporary, Retention(max_age_seconds=_ABANDONED_SECONDS))


def _protected_versions(models_dir: Path) -> set[str]:
    """Return the serving version, the one that would serve next, and unusable ones that were promoted after them."""
    names, usable = set(), 0
    for name in _serving_order(models_dir, history(models_dir)):
        names.add(name)
        usable += _reason_unusable(models_dir, name) is None
        if usable == 2:
            break
    return names


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
