"""Versions of the model on disk: written whole or not at all, read with every check before use.

    models_dir/
        serving.json          which version serves since when and why, the newest entry last
        20250131T120000123456Z-1a2b3c4d/
            model.joblib      the fitted scikit-learn pipeline
            metadata.json     what it was made of and how good it is

Names sort by time. A version serves once it is promoted; where the promoted one cannot be used, the one before it
serves. Every change of `serving.json` is one replacement of the file under a lock, so a process that is
killed at any moment leaves the old state or the new. Only this program writes the folder; a model file is a
pickle and must not come from anywhere else.
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
import time
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
from workflows.sql_python.passengers import ATTRIBUTE_NAMES, Value, as_frame
from workflows.survival.features import FEATURE_NAMES, PassengerFeatures

logger = logging.getLogger(__name__)

FORMAT = 1
KEPT_VERSIONS = 10
MODEL_FILE = "model.joblib"
METADATA_FILE = "metadata.json"
POINTER_FILE = "serving.json"
BROKEN_POINTER_FILE = "serving.json.broken"
LIBRARIES = ("scikit-learn", "xgboost", "numpy", "pandas", "joblib")
# A fitted model reads well in other releases of the other libraries.
_MUST_MATCH = ("scikit-learn", "xgboost")
_ABANDONED_SECONDS = 3600
_TIME = "%Y%m%dT%H%M%S%fZ"
_VERSION = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}")
# What decides the model and its figures; other modules may change without a new version.
_MODEL_MODULES = (
    "sql_python/passengers.py",
    "survival/evaluation.py",
    "survival/features.py",
    "survival/training.py",
)
_HISTORY_KEPT = 200
_LOCK_SECONDS = 60.0
_TRAINING_LOCK_SECONDS = 900.0

# Why a version serves.
PROMOTED = "promoted"
PROMOTED_BY_HAND = "promoted by hand"
ROLLED_BACK = "rolled back"
# Of a folder without a pointer, in which nobody has promoted anything.
NEWEST = "the newest"

Status = Literal["serving", "served before", "candidate", "rejected", "unusable", "gone"]

# Invented passengers: what a version predicts for them when it is made, it must predict when it is read.
_PROBES: tuple[tuple[Value, ...], ...] = (
    (1, "Probe, Mrs. A", "female", 38.0, 1, 0, "probe 1", 80.0, "C85", "C"),
    (3, "Probe, Mr. B", "male", 22.0, 0, 0, "probe 2", 7.25, None, "S"),
    (2, "Probe, Master. C", "male", 4.0, 1, 2, "probe 3", 26.0, "F2", "Q"),
    (1, "Probe, Dr. D", "male", 61.0, 0, 4, "probe 4", 0.0, "A10", "S"),
    (None,) * len(ATTRIBUTE_NAMES),
)
# One more for each of the first few tickets that several of the training part hold, so that what was learned about
# them counts; nobody has this age.
_COMPANION: Mapping[str, Value] = dict(
    zip(ATTRIBUTE_NAMES, (3, "Probe, Mrs. E", "female", 33.25, 0, 0, None, 15.0, None, "S"), strict=True)
)
_PROBED_TICKETS = 3
# The sums of other processors may differ in the last digits.
_PROBE_TOLERANCE = 1e-4
# What reading a damaged pointer raises.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError)
# What the machine lacks for a moment; it says nothing about a version.
_TRANSIENT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR})


class UnusableVersionError(Exception):
    """A version on disk cannot serve; the message says why."""


@dataclass(frozen=True)
class Entry:
    """Since when a version serves, and why."""

    version: str
    since_utc: str
    why: str

    def told(self) -> str:
        """Return both in words."""
        return f"{self.why} {self.since_utc[:16].replace('T', ' ')}"


@dataclass(frozen=True)
class Listed:
    """A version as `overview` lists it; `note` says why it is what it is, metadata are empty where unreadable."""

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
    """Versions that a model depends on, Python's included."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {"python": python} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def hash_data(df: pd.DataFrame) -> str:
    """SHA-256 of the content of a table, exact for floats; independent of the order of rows."""
    ordered = df.sort_values(list(df.columns[:1])).to_csv(index=False)
    return hashlib.sha256(ordered.encode()).hexdigest()


def hash_code() -> str:
    """SHA-256 of the modules that decide what a model is, whatever the state of version control."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for module in _MODEL_MODULES:
        digest.update(module.encode() + b"\0" + (package / module).read_bytes() + b"\0")
    return digest.hexdigest()


def git_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in a folder, or None where that cannot be read; runs no program."""
    git = folder / ".git"
    try:
        if git.is_file():
            # A worktree: its folder is elsewhere, and most references are in the repository's.
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


def made_at(name: str) -> datetime:
    """Return the moment that is part of a version's name."""
    return datetime.strptime(name.partition("-")[0], _TIME).replace(tzinfo=UTC)


def save(
    models_dir: Path,
    pipeline: Pipeline,
    metadata: Mapping[str, Any],
    fingerprint_: str,
    files: Mapping[str, Callable[[Mapping[str, Any]], str | None]] | None = None,
) -> str:
    """Keep a fitted pipeline as the newest version, a candidate, and drop versions beyond the last `KEPT_VERSIONS`.

    What serves, and what would serve after it, is never dropped. Safe under concurrent calls: each becomes a
    version of its own.

    Args:
        models_dir: Folder of all versions; made where it is missing.
        pipeline: What serves.
        metadata: JSON types; what is known about it. Name, time, format, checksum and library versions are added.
        fingerprint_: See `fingerprint`; the name ends with its start.
        files: Further files of the version, `{name: function of the complete metadata that returns the text}`; None for
            no such file.

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
                    "created_utc": made_at(name).isoformat(),
                    "fingerprint": fingerprint_,
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
                    _synchronise(path)
                # A temporary folder is private to its owner, as the versions need not be.
                folder.chmod(0o755)
        except OSError:
            # Another process took the same name in the same microsecond.
            if (models_dir / name).exists():
                continue
            raise
        with _lock(models_dir):
            _prune(models_dir)
        return name


def read_metadata(models_dir: Path, name: str) -> dict[str, Any]:
    """Read what is known about a version, whether or not it can serve.

    Raises:
        UnusableVersionError: it cannot be read.
        OSError: the machine lacks what reading takes (open files, memory), whatever the version is like.
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
    """Read one version and check it: complete, unchanged, made for this code and these libraries.

    Raises:
        UnusableVersionError: says what is wrong with it.
        OSError, MemoryError: the machine lacks what reading takes, whatever the version is like.
    """
    folder = models_dir / name
    metadata = read_metadata(models_dir, name)
    try:
        _check(metadata, folder)
        pipeline = joblib.load(folder / MODEL_FILE)
    except UnusableVersionError:
        raise
    except FileNotFoundError as error:
        raise UnusableVersionError(f"{Path(error.filename).name} is missing") from error
    except Exception as error:
        if _is_transient(error):
            raise
        # A damaged pickle may raise anything at all.
        raise UnusableVersionError(f"cannot be read ({type(error).__name__}: {error})") from error
    steps = getattr(pipeline, "named_steps", {})
    if not isinstance(steps.get("features"), PassengerFeatures) or "model" not in steps:
        raise UnusableVersionError(f"{MODEL_FILE} is not a survival model")
    # One row at a time is faster without a pool of threads, and predictions stay the same.
    steps["model"].get_booster().set_param({"nthread": 1})
    _check_predictions(metadata, pipeline)
    # A folder may have been restored under another name, which it goes by then.
    return Version(name, {**metadata, "version": name}, pipeline)


def usable_versions(models_dir: Path) -> Iterator[Version]:
    """Yield the versions that can serve: the promoted one, then those promoted before it, then others not rejected.

    In a folder without a pointer the newest comes first. Unusable ones are logged as warnings and skipped.
    """
    for name in _serving_order(models_dir, history(models_dir)):
        try:
            yield load(models_dir, name)
        except UnusableVersionError as error:
            logger.warning(
                "model version %s is skipped: %s; the last good one serves where there is one, "
                "else run pipeline ml_training_and_inference",
                name,
                error,
            )


def serving_version(models_dir: Path) -> Version:
    """Return the version that answers: the promoted one, or where it cannot be used the last good one before it.

    Raises:
        NotReadyError: there is none.
    """
    version = next(usable_versions(models_dir), None)
    if version is None:
        kept = len(version_names(models_dir))
        why = f", none of the {kept} versions can serve (see make models)" if kept else ""
        raise NotReadyError(f"there is no survival model yet{why}: run pipeline ml_training_and_inference first")
    return version


def find(models_dir: Path, fingerprint_: str) -> Version | None:
    """Return the newest usable version that was made of the same ingredients."""
    for name in version_names(models_dir):
        if name.endswith(fingerprint_[:8]):
            try:
                version = load(models_dir, name)
            except UnusableVersionError:
                continue
            if version.metadata.get("fingerprint") == fingerprint_:
                return version
    return None


def history(models_dir: Path) -> list[Entry]:
    """Return which version serves since when and why, the oldest first.

    Without a pointer, as in a folder of an earlier release, each version that was not rejected counts as having
    served since it was made.
    """
    try:
        return _read_pointer(models_dir)
    except FileNotFoundError:
        pass
    except _UNREADABLE as error:
        if _is_transient(error):
            raise
        logger.warning(
            "%s cannot be read (%s: %s): the newest version that was not rejected serves, until one is promoted",
            POINTER_FILE,
            type(error).__name__,
            error,
        )
    return [
        Entry(name, made_at(name).isoformat(), NEWEST)
        for name in reversed(version_names(models_dir))
        if not _was_rejected(models_dir, name)
    ]


def promote(models_dir: Path, name: str, why: str = PROMOTED_BY_HAND) -> None:
    """Let a version serve from now on, whatever the rules said about it.

    Raises:
        UnusableVersionError: it cannot serve; nothing has changed.
    """
    with _lock(models_dir):
        load(models_dir, name)
        _point_to(models_dir, name, why)


def promote_in_place_of(models_dir: Path, name: str, incumbent: str | None) -> bool:
    """Let a version serve if `incumbent`, which it was judged beside, still does; tell whether it serves now.

    Raises:
        UnusableVersionError: it cannot serve; nothing has changed.
    """
    with _lock(models_dir):
        current = next(usable_versions(models_dir), None)
        if current is not None and current.name not in {incumbent, name}:
            return False
        load(models_dir, name)
        _point_to(models_dir, name, PROMOTED)
        return True


def roll_back(models_dir: Path) -> tuple[str, str]:
    """Let the version serve again that was promoted before the present one, or the last good one before that.

    Rolling back again goes back further, not forward.

    Returns:
        The version that was left, and the one that serves now.

    Raises:
        NotReadyError: there is none; nothing has changed.
    """
    with _lock(models_dir):
        standing = _standing(history(models_dir))
        for name in _distinct(reversed(standing)):
            if name == standing[-1]:
                continue
            try:
                load(models_dir, name)
            except UnusableVersionError as error:
                logger.warning("model version %s is passed over: %s", name, error)
                continue
            _point_to(models_dir, name, ROLLED_BACK)
            return standing[-1], name
    raise NotReadyError("there is no usable version that served before")


def was_left_by_hand(models_dir: Path, name: str) -> bool:
    """Tell whether somebody has put another version in the place of this one, which an automatic run must respect."""
    entries = history(models_dir)
    successors = [after.why for entry, after in itertools.pairwise(entries) if entry.version == name]
    is_last = bool(entries) and entries[-1].version == name
    return not is_last and successors[-1:] in ([PROMOTED_BY_HAND], [ROLLED_BACK])


def last_profile(models_dir: Path) -> dict[str, Any] | None:
    """Return the counts (`checks.profile`) of what the version that serves was trained on.

    Where they are unknown, those of the one that would serve after it, and so on; None where there are none.
    """
    for name in _serving_order(models_dir, history(models_dir)):
        try:
            kept = read_metadata(models_dir, name).get("profile")
        except UnusableVersionError:
            continue
        if kept is not None:
            return kept
    return None


def overview(models_dir: Path) -> list[Listed]:
    """List the versions on disk with their status, the newest first."""
    entries = history(models_dir)
    problems = {name: _problem(models_dir, name) for name in version_names(models_dir)}
    order = _serving_order(models_dir, entries)
    serving = next((name for name in order if name in problems and problems[name] is None), None)
    return [_listed(models_dir, name, problem, serving, entries) for name, problem in problems.items()]


def status(models_dir: Path, name: str) -> Status:
    """Return what became of a version; reads no other than those that come before it."""
    if name not in version_names(models_dir):
        return "gone"
    entries = history(models_dir)
    order = _serving_order(models_dir, entries)
    serving = next((other for other in order if _problem(models_dir, other) is None), None)
    problem = None if name == serving else _problem(models_dir, name)
    return _listed(models_dir, name, problem, serving, entries).status


@contextmanager
def training(models_dir: Path) -> Iterator[None]:
    """Hold the right to train: one process at a time, so that no two make the same version.

    Raises:
        NotReadyError: another training has not ended in time.
    """
    with _lock(models_dir, "training", _TRAINING_LOCK_SECONDS):
        yield


def _problem(models_dir: Path, name: str) -> str | None:
    """Return why a version cannot serve, None where it can."""
    try:
        load(models_dir, name)
    except UnusableVersionError as error:
        return str(error)
    return None


def _listed(models_dir: Path, name: str, problem: str | None, serving: str | None, entries: Sequence[Entry]) -> Listed:
    """Describe a version, given the name of the one that serves."""
    try:
        metadata: Mapping[str, Any] = read_metadata(models_dir, name)
    except UnusableVersionError:
        metadata = {}
    served = {entry.version: entry for entry in entries}
    status: Status
    if problem is not None:
        status, note = "unusable", problem
    elif name == serving:
        status, note = "serving", served[name].told() if name in served else "those promoted cannot be used"
    elif name in served:
        status, note = "served before", served[name].told()
    elif _was_rejected(models_dir, name):
        status, note = "rejected", "; ".join(metadata["promotion"]["reasons"])
    else:
        status, note = "candidate", ""
    return Listed(name, status, note, metadata)


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


def _probe(pipeline: Pipeline) -> list[float]:
    """Predict the invented passengers: strangers, then companions of passengers known."""
    features = pipeline["features"]
    shared = sorted(ticket for ticket, holders in features.companions_.items() if len(holders) > 1)
    passengers = [
        *(dict(zip(ATTRIBUTE_NAMES, values, strict=True)) for values in _PROBES),
        *({**_COMPANION, "ticket": ticket} for ticket in shared[:_PROBED_TICKETS]),
    ]
    for passenger in passengers:
        # Only the answer to a caller needs it, and it has to work as well.
        features.unseen(passenger)
    return [float(probability) for probability in pipeline.predict_proba(as_frame(passengers))[:, 1]]


def _check_predictions(metadata: Mapping[str, Any], pipeline: Pipeline) -> None:
    """Refuse a model that this code reads, but understands otherwise than the code that made it."""
    try:
        now = _probe(pipeline)
    except Exception as error:
        if _is_transient(error):
            raise
        # What another release of the features left out may raise anything at all.
        raise UnusableVersionError(f"cannot predict with this code ({type(error).__name__}: {error})") from error
    # Earlier releases probed fewer passengers, the same ones first.
    then = metadata.get("probe", [])
    if len(then) > len(now) or not np.allclose(now[: len(then)], then, rtol=0, atol=_PROBE_TOLERANCE):
        raise UnusableVersionError("predicts otherwise with this code than with the code that made it")


def _is_transient(error: Exception) -> bool:
    """Whether a further try may go well, so that the error is no verdict on what was read."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _TRANSIENT)


def _serving_order(models_dir: Path, entries: Sequence[Entry]) -> list[str]:
    """Names of versions in the order in which they are to serve; only the first may be gone from the disk."""
    on_disk = version_names(models_dir)
    others = (name for name in on_disk if not _was_rejected(models_dir, name))
    names = _distinct([*reversed(_standing(entries)), *others])
    return [name for position, name in enumerate(names) if position == 0 or name in on_disk]


def _standing(entries: Iterable[Entry]) -> list[str]:
    """Names of the versions that were promoted and not rolled back since; the last one serves."""
    standing: list[str] = []
    for entry in entries:
        if entry.why == ROLLED_BACK and entry.version in standing:
            while standing[-1] != entry.version:
                standing.pop()
        else:
            # Promoted again it stands once, or rolling back twice would lead to it again.
            if entry.version in standing:
                standing.remove(entry.version)
            standing.append(entry.version)
    return standing


def _read_pointer(models_dir: Path) -> list[Entry]:
    """Read the pointer; raises any of `_UNREADABLE`."""
    content = json.loads((models_dir / POINTER_FILE).read_text(encoding="utf-8"))
    entries = [Entry(**entry) for entry in content["history"]]
    if not all(_VERSION.fullmatch(entry.version) for entry in entries):
        raise ValueError("a name that is none of a version")
    return entries


def _keep_broken_pointer(models_dir: Path) -> None:
    """Copy a pointer that cannot be read, for whoever wants to mend the history that is about to begin anew."""
    try:
        _read_pointer(models_dir)
    except FileNotFoundError:
        pass
    except _UNREADABLE:
        shutil.copyfile(models_dir / POINTER_FILE, models_dir / BROKEN_POINTER_FILE)
        logger.warning("%s is kept as %s", POINTER_FILE, BROKEN_POINTER_FILE)


def _point_to(models_dir: Path, name: str, why: str) -> None:
    """Write the pointer; the lock must be held."""
    entries = history(models_dir)
    if entries and entries[-1].version == name:
        if entries[-1].why != NEWEST:
            return
        # It has just been written, and is promoted now.
        entries.pop()
    entries = [*entries, Entry(name, datetime.now(UTC).isoformat(), why)][-_HISTORY_KEPT:]
    content = {"history": [asdict(entry) for entry in entries]}
    _keep_broken_pointer(models_dir)
    write_text_atomically(models_dir / POINTER_FILE, json.dumps(content, indent=2) + "\n")


def _was_rejected(models_dir: Path, name: str) -> bool:
    """Whether the rules refused it; what cannot be read is found out when it is loaded."""
    try:
        outcome = read_metadata(models_dir, name).get("promotion")
    except UnusableVersionError:
        return False
    return isinstance(outcome, dict) and outcome.get("accepted") is False


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


@contextmanager
def _lock(models_dir: Path, name: str = "serving", timeout_seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    models_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(models_dir / f".{name}.lock", timeout=timeout_seconds)
    try:
        lock.acquire()
    except Timeout:
        raise NotReadyError(
            f"another process has held {lock.lock_file} for {timeout_seconds:g} s: wait until it has ended"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _next_name(models_dir: Path, fingerprint_: str) -> str:
    """A name that sorts after all others, also where the clock was set back."""
    moment = datetime.now(UTC)
    newest = next(iter(version_names(models_dir)), None)
    if newest is not None:
        moment = max(moment, made_at(newest) + timedelta(microseconds=1))
    return f"{moment.strftime(_TIME)}-{fingerprint_[:8]}"


def _prune(models_dir: Path) -> None:
    """Drop old versions, and what processes that were killed while writing left behind; the lock must be held."""
    old = version_names(models_dir)[KEPT_VERSIONS:]
    protected = _serving_and_before(models_dir) if old else set()
    for name in old:
        if name not in protected:
            shutil.rmtree(models_dir / name, ignore_errors=True)
    for pattern in (".*Z-*", f".{POINTER_FILE}.*"):
        for path in models_dir.glob(pattern):
            try:
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except FileNotFoundError:
                continue


def _serving_and_before(models_dir: Path) -> set[str]:
    """Names of the version that serves, of the one that would serve after it, and of those pointed to in vain."""
    names, usable = set(), 0
    for name in _serving_order(models_dir, history(models_dir)):
        names.add(name)
        try:
            load(models_dir, name)
        except UnusableVersionError:
            continue
        usable += 1
        if usable == 2:
            break
    return names


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _synchronise(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
