import subprocess
from pathlib import Path

import pytest

from workflows.common.settings import REPO_PATH


@pytest.fixture(scope="session")
def tracked_files() -> list[Path]:
    """Files that git tracks and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO_PATH, capture_output=True, text=True, check=True)
    return [REPO_PATH / name for name in listed.stdout.split("\0") if name and (REPO_PATH / name).is_file()]
