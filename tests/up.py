"""The command `make up` as its user runs it: a process of its own, started again when it has ended."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from stack.launch import Stack, connected_stack
from stack.mage_client import wait_until
from stack.mage_process import StackError
from workflows.common.settings import REPO_PATH, get_settings

START_SECONDS = 240


def stack_command(name: str) -> subprocess.CompletedProcess:
    """Run another command of the stack, such as `stop`."""
    return subprocess.run(
        [sys.executable, "-m", "stack", name], check=False, cwd=REPO_PATH, capture_output=True, text=True, timeout=180
    )


class Up:
    """The command, with the state folder and settings of the environment.

    Args:
        output: File that gets what the command prints.
        project: Copy of this repository that is served.
    """

    def __init__(self, output: Path, project: Path = REPO_PATH):
        self._output = output
        self._project = project
        self.process: subprocess.Popen | None = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def printed(self) -> str:
        """What the latest start has printed."""
        return self._output.read_text()

    def start(self) -> Stack:
        """Start and wait until it serves."""
        with self._output.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stack", "up"],
                cwd=self._project,
                env=os.environ | {"PYTHONPATH": str(self._project)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: not self.is_running or "Serving." in self.printed, START_SECONDS)
        assert self.is_running, self.printed
        return connected_stack(get_settings())

    def started_again(self) -> Stack:
        """Return the running stack; where the command has ended, do what its user would: stop the rest, start it."""

        def running() -> Stack | None:
            if not self.is_running:
                stopped = stack_command("stop")
                assert stopped.returncode == 0, stopped.stdout + stopped.stderr
                return self.start()
            # It may be about to start Mage again.
            with contextlib.suppress(StackError):
                return connected_stack(get_settings())
            return None

        return wait_until(running, START_SECONDS)

    def stop(self) -> None:
        """End it, and all that it left running."""
        if self.process is not None and self.is_running:
            self.process.terminate()
            self.process.wait(60)
        stack_command("stop")
