"""Mage's own command line, with a queue that loses no job and the libraries of the blocks loaded before it forks.

Run as `python -m stack.mage start PROJECT …`.
"""

import sys

from mage_ai.settings.repo import set_repo_path

from workflows.preload import preload


def main() -> None:
    """Prepare the process, and go on as `mage` does."""
    # Where Mage keeps its database follows from the project, and is decided when its models are imported.
    set_repo_path(sys.argv[2])
    preload()
    from mage_ai.cli.main import app  # noqa: PLC0415

    from stack import job_queue  # noqa: PLC0415

    job_queue.install()
    app()


if __name__ == "__main__":
    main()
