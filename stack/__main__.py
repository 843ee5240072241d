"""Run or stop Mage and the local services.

Run as `python -m stack demo|up|stop|refresh`.
"""

import argparse
import signal
import sys
from types import FrameType

from stack.console import Console
from stack.demo import refresh, run_demo, say_where
from stack.launch import Stack, keep_running, running_stack, stop_leftovers
from workflows.common.settings import get_settings


def main() -> int:
    """Run one command and return the exit code: 0 success, 1 failure, 130 the demo was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="run all pipelines and the two example calls, then keep serving")
    demo.add_argument("--once", action="store_true", help="stop after the demo; exit 0 only if everything succeeded")
    commands.add_parser("up", help="start Mage and the local services, and keep serving")
    commands.add_parser("stop", help="stop what runs with the state folder")
    again = commands.add_parser("refresh", help="recompute the data product and train on it, in the running stack")
    again.add_argument("--accept-drift", action="store_true", help="train although the data differ strongly")
    arguments = parser.parse_args()
    console = Console()
    signal.signal(signal.SIGTERM, _raise_keyboard_interrupt)
    try:
        return console.run(lambda: _run(arguments, console))
    except KeyboardInterrupt:
        console.say("Stopped")
        return 0 if arguments.command == "up" else 130


def _run(arguments: argparse.Namespace, console: Console) -> int:
    settings = get_settings()
    if arguments.command == "stop":
        stopped = stop_leftovers(settings)
        console.say(f"Stopped {', '.join(stopped)}" if stopped else "Nothing was running")
        return 0
    if arguments.command == "refresh":
        return 0 if refresh(settings, console, arguments.accept_drift) else 1
    with running_stack(settings, console) as stack:
        has_succeeded = run_demo(stack, console) if arguments.command == "demo" else True
        say_where(stack, console)
        if not getattr(arguments, "once", False):
            _serve(stack, console)
    console.say("Stopped")
    return 0 if has_succeeded else 1


def _serve(stack: Stack, console: Console) -> None:
    console.say("Serving. Press Ctrl-C to stop Mage and the local services.")
    try:
        keep_running(stack, console)
    except KeyboardInterrupt:
        # What is running is stopped on the way out.
        console.say()


def _raise_keyboard_interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Handle SIGTERM like Ctrl-C, so that everything is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
