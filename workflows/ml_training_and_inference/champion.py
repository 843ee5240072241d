"""The champion as this machine keeps it: one file, replaced atomically, and read again only when it has changed.

Predictions need nothing else. MLflow may be down, and its client is not imported.
"""

import json
import logging
import os
import threading
from pathlib import Path

from workflows.common.errors import NotReadyError
from workflows.common.files import write_text_atomically
from workflows.ml_training_and_inference import artifact
from workflows.ml_training_and_inference.artifact import UnusableVersionError, Version

logger = logging.getLogger(__name__)

CHAMPION_FILE = "champion.json"

# Path, modification time, inode and size of the file.
_Stamp = tuple[str, int, int, int]
# The file as it was read last, and the version in it or the reason why there is none.
_cache: tuple[_Stamp, Version | str] | None = None
_loading_lock = threading.Lock()


def keep_champion(models_dir: Path, version: Version) -> None:
    """Keep a version as the champion: it serves from the next call on, in every process of this machine."""
    content = {"version": version.name, "run_id": version.run_id, "model": artifact.to_dict(version.pipeline)}
    write_text_atomically(models_dir / CHAMPION_FILE, json.dumps(content))


def kept_champion(models_dir: Path) -> tuple[str, str] | None:
    """Return version and run of the kept champion, None if its file is missing or damaged."""
    try:
        content = json.loads((models_dir / CHAMPION_FILE).read_text(encoding="utf-8"))
        artifact.from_dict(content["model"])
        return content["version"], content["run_id"]
    except (OSError, KeyError, TypeError, ValueError, UnusableVersionError):
        return None


def load_champion(models_dir: Path) -> Version:
    """Return the kept champion. If its file is damaged or gone, the one that was loaded before goes on serving.

    Raises:
        NotReadyError: there is none that can be used.
    """
    global _cache  # noqa: PLW0603
    stamp = _stamp(models_dir)
    cached = _cache
    if cached is None or cached[0] != stamp:
        with _loading_lock:
            if _cache is None or _cache[0] != stamp:
                _cache = (stamp, _read(stamp[0], _cache))
            cached = _cache
    if isinstance(cached[1], str):
        # Raise a new error each time: one that is raised again accumulates the tracebacks of all callers.
        raise NotReadyError(cached[1])
    return cached[1]


def _read(path: str, before: tuple[_Stamp, Version | str] | None) -> Version | str:
    """Return the version in the file, the one that was loaded from it before, or why there is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        version = Version(content["version"], content["run_id"], artifact.from_dict(content["model"]))
    except FileNotFoundError:
        problem = "there is no survival model yet"
    except (KeyError, TypeError, ValueError, UnusableVersionError) as error:
        problem = f"the champion in {path} cannot be used ({type(error).__name__}: {error})"
    else:
        logger.info("model version %s serves", version.name)
        return version
    if before is not None and before[0][0] == path and isinstance(before[1], Version):
        logger.warning("%s; version %s, which was loaded before, goes on serving", problem, before[1].name)
        return before[1]
    return f"{problem}: run pipeline ml_training_and_inference"


def _stamp(models_dir: Path) -> _Stamp:
    path = f"{models_dir}/{CHAMPION_FILE}"
    try:
        # Faster than joining paths; every prediction does this.
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return path, 0, 0, 0
    # With the inode, because the file may be replaced twice within one tick of the clock.
    return path, stat.st_mtime_ns, stat.st_ino, stat.st_size
