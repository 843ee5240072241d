"""Puts `/api/runs` into Mage's server; the rest of it stays Mage's."""

import atexit
import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from workflows.common.settings import get_settings

logger = logging.getLogger(__name__)

# The stack kills what has not ended 10 s after it was asked to.
SHUTDOWN_SECONDS = 8.0
# Connections that send no request, or its headers drop by drop.
IDLE_CONNECTION_SECONDS = 75.0

SWITCH_SECONDS = 0.0005


class Server:
    """Puts this package into Mage's server, and closes it in order.

    Args:
        repo_path: The Mage project.
    """

    def __init__(self, repo_path: Path):
        self.repo_path = repo_path
        self.service: Any = None
        self._pid = os.getpid()
        self._is_closing = False

    def install(self) -> None:
        """Have Mage's application made with the routes of this package in front of its own."""
        import mage_ai.server.server as mage_server

        original = mage_server.make_app

        @functools.wraps(original)
        def make_app(*args: Any, **kwargs: Any) -> Any:
            app = original(*args, **kwargs)
            if not kwargs.get("status_only"):
                prefix = f"/{mage_server.ROUTES_BASE_PATH}" if kwargs.get("update_routes") else ""
                self.register(app, prefix)
            return app

        mage_server.make_app = make_app

    def register(self, app: Any, prefix: str = "") -> None:
        """Start the service and add its routes to an application."""
        # Mage reads the environment and opens its database when these are imported.
        from mage_ai.settings.repo import get_variables_dir

        from mage_server.run_api import capture, database, redaction
        from mage_server.run_api.handlers import routes
        from mage_server.run_api.service import RunService

        # By default a thread that computes makes the event loop wait 5 ms for its turn, three times a call.
        sys.setswitchinterval(SWITCH_SECONDS)
        capture.install()
        redaction.install()
        variables_dir = Path(get_variables_dir(repo_path=str(self.repo_path)))
        self.service = RunService(get_settings(), self.repo_path, database.make_engine(), variables_dir)
        self.service.start()
        app.add_handlers(r".*", routes(self.service, prefix))
        # Ctrl-C ends Mage by an exception.
        atexit.register(self.close)
        app.listen = functools.partial(app.listen, idle_connection_timeout=IDLE_CONNECTION_SECONDS)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_terminate)
            os.register_at_fork(after_in_child=self._after_fork)

    def close(self) -> None:
        """Let calls end and write their records."""
        if self.service is not None and os.getpid() == self._pid and not self._is_closing:
            self._is_closing = True
            self.service.close(SHUTDOWN_SECONDS)

    def _on_terminate(self, _signal: int, _frame: Any) -> None:
        # Not in this thread: the event loop must turn, it carries the answers of the calls that end.
        threading.Thread(target=self._close_and_end, name="run-api-shutdown", daemon=True).start()

    def _close_and_end(self) -> None:
        self.close()
        _end_children()
        logging.shutdown()
        # A block that never ends, or Mage's own threads, must not keep the process.
        os._exit(128 + signal.SIGTERM)

    def _after_fork(self) -> None:
        """A forked child, such as a restarted scheduler, has none of the threads: it ends at once when asked."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_children() -> None:
    """End Mage's scheduler and its helpers, which would go on without the server, beside those of the next one."""
    for child in multiprocessing.active_children():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(child.pid)
            for member in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.terminate()
