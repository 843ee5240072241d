"""Read the project's metadata.yaml once, not seven times a block.

Mage reads it, renders it with Jinja and looks for the libraries of two clouds each time that any part asks for it.
"""

import functools
import pickle
import time
from pathlib import Path
from typing import Any

from mage_ai.data_preparation.repo_manager import RepoConfig
from mage_ai.settings.repo import get_repo_path

# The file may name secrets, which change where they are kept.
KEEP_SECONDS = 5.0


def install() -> None:
    """Have Mage keep what it read for a short time, as long as the file is the same."""
    original = RepoConfig.__init__
    kept: dict[tuple[str, bool], tuple[float, tuple[int, int] | None, bytes]] = {}

    @functools.wraps(original)
    def read(self: RepoConfig, repo_path: str | None = None, *args: Any, root_project: bool = False, **kw: Any) -> None:
        if args or any(kw.values()):
            original(self, repo_path, *args, root_project=root_project, **kw)
            return
        folder = repo_path or get_repo_path(root_project=root_project)
        key, version, now = (folder, root_project), _version(Path(folder) / "metadata.yaml"), time.monotonic()
        read_at, read_version, values = kept.get(key, (0.0, None, b""))
        if not values or version != read_version or now - read_at > KEEP_SECONDS:
            original(self, repo_path, root_project=root_project)
            kept[key] = (now, version, pickle.dumps(self.__dict__))
        else:
            self.__dict__.update(pickle.loads(values))

    RepoConfig.__init__ = read


def _version(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
