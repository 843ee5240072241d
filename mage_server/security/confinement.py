"""Say which paths the file browser may reach: those of the project, without the state folder."""

from collections.abc import Collection
from pathlib import Path


def is_confined(path: str | Path, project: Path, excluded: Collection[Path]) -> bool:
    """Whether a path lies in the project and in none of the excluded folders, with symbolic links resolved.

    Args:
        path: Absolute, or relative to the current folder, as Mage opens it.
        project: Folder of the project, resolved.
        excluded: Folders inside or outside of the project that hold secrets, resolved.
    """
    try:
        resolved = Path(path).resolve()
    except (OSError, ValueError, RuntimeError):
        return False
    return resolved.is_relative_to(project) and not any(resolved.is_relative_to(folder) for folder in excluded)


def is_secret_file(path: str | Path) -> bool:
    """Whether a file's name says that it holds settings with secrets, such as `.env`."""
    name = Path(path).name
    return name.startswith(".env") and name != ".env.example"
