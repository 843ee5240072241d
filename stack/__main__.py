"""Command line: `python -m stack demo|up|stop`."""

import argparse
import signal
import sys
import time
from types import FrameType

from pydantic import ValidationError

from stack.console import Console
from stack.demo import run_demo, say_where
from stack.launch import Stack, running_stack, stop_leftovers
from stack.mage_client import MageError
from stack.mage_process import StackError
from workflows.common.errors import WorkflowError
from workflows.common.settings import get_settings


def main() -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="run the whole chain and the two calls, then serve")
    demo.add_argument("--once", action="store_true", help="stop after the demo; exit 0 only if all of it worked")
    commands.add_parser("up", help="serve, without the demo run")
    commands.add_parser("stop", help="stop what an earlier run left behind")
    arguments = parser.parse_args()
    console = Console()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = get_settings()
        if arguments.command == "stop":
            stopped = stop_leftovers(settings)
            console.say(f"Stopped {', '.join(stopped)}" if stopped else "Nothing was running")
            return 0
        with running_stack(settings, console) as stack:
            worked = run_demo(stack, console) if arguments.command == "demo" else True
            say_where(stack, console)
            if not getattr(arguments, "once", False):
                _serve(stack, console)
            return 0 if worked else 1
    except KeyboardInterrupt:
        return 0 if arguments.command == "up" else 130
    except ValidationError as error:
        console.say_wrong_settings(error)
    except (StackError, MageError, WorkflowError) as error:
        console.say(f"Error: {error}")
    return 1


def _serve(stack: Stack, console: Console) -> None:
    console.say("Serving; Ctrl-C stops everything.")
    try:
        while stack.server.is_running():
            time.sleep(1)
    except KeyboardInterrupt:
        console.say()
        return
    raise StackError(f"Mage has ended; see {stack.server.log_path}")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """A termination ends like Ctrl-C, so that nothing is left behind."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
