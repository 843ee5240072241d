"""Mage's server and scheduler as the stack runs them: a queue that loses no job, and this project's `/api/runs`.

Run as `python -m stack.mage PROJECT --host 127.0.0.1 --port 6789`, in place of `mage start`.
"""

import sys

from mage_ai.settings.repo import set_repo_path


def main() -> None:
    """Prepare the process, and go on as the server."""
    # Where Mage keeps its database follows from the project, and is decided when its models are imported.
    set_repo_path(sys.argv[1])
    from run_api import server  # noqa: PLC0415
    from stack import job_queue  # noqa: PLC0415

    job_queue.install()
    server.main()


if __name__ == "__main__":
    main()
