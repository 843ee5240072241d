"""Add `/api/runs` to Mage's server, and guards to its own handlers."""

import atexit
import contextlib
import functools
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from workflows.common.settings import get_settings

logger = logging.getLogger(__name__)

# Shorter than the 10 s after which `make up` and `make stop` kill the process.
SHUTDOWN_SECONDS = 8.0
# Closes connections that send no request or send its headers too slowly.
IDLE_CONNECTION_SECONDS = 75.0
# With Python's default of 5 ms, a computing thread delays the event loop by 5 ms about three times per call.
THREAD_SWITCH_SECONDS = 0.0005


class RunApiExtension:
    """Adds the `/api/runs` routes and the guards to Mage's web application, and shuts down with the server.

    Args:
        repo_path: Folder of the Mage project.
        listen_address: Address that the server listens on.
    """

    def __init__(self, repo_path: Path, listen_address: str):
        self.repo_path = repo_path
        self.listen_address = listen_address
        self.service: Any = None
        self._pid = os.getpid()
        self._is_closing = False

    def install(self) -> None:
        """Wrap Mage's `make_app` so that it adds the routes to the application that it creates."""
        import mage_ai.server.server as mage_server

        original = mage_server.make_app

        @functools.wraps(original)
        def make_app(*args: Any, **kwargs: Any) -> Any:
            app = original(*args, **kwargs)
            # Mage reads the environment and opens its database when this is imported.
            from mage_server.security.install import install as install_guards

            # First, since the threads of the service import modules, of which the guards replace functions.
            install_guards(app, get_settings(), self.repo_path, self.listen_address)
            if not kwargs.get("status_only"):
                prefix = f"/{mage_server.ROUTES_BASE_PATH}" if kwargs.get("update_routes") else ""
                self.register(app, prefix)
            return app

        mage_server.make_app = make_app

    def register(self, app: Any, prefix: str = "") -> None:
        """Start the service and add its routes to an application, before Mage's own routes."""
        # Mage reads the environment and opens its database when these are imported.
        from mage_ai.server.scheduler_manager import check_scheduler_status
        from mage_ai.settings.repo import get_variables_dir
        from tornado.ioloop import IOLoop

        from mage_server import retries
        from mage_server.run_api import capture, database
        from mage_server.run_api.handlers import routes
        from mage_server.run_api.service import RunService
        from mage_server.watchdog import Watchdog

        sys.setswitchinterval(THREAD_SWITCH_SECONDS)
        capture.install()
        retries.install()
        variables_dir = Path(get_variables_dir(repo_path=str(self.repo_path)))
        self.service = RunService(get_settings(), self.repo_path, database.make_engine(), variables_dir)
        self.service.start()
        # Mage forks the scheduler, which only the thread of the event loop may do.
        loop = IOLoop.current()
        Watchdog(lambda: loop.add_callback(check_scheduler_status)).start()
        app.add_handlers(r".*", routes(self.service, prefix))
        # Ctrl-C ends Mage with an exception, not with a signal handler.
        atexit.register(self.close)
        app.listen = functools.partial(app.listen, idle_connection_timeout=IDLE_CONNECTION_SECONDS)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)
            os.register_at_fork(after_in_child=self._restore_sigterm)

    def close(self) -> None:
        """Wait for running calls and write their records."""
        if self.service is not None and os.getpid() == self._pid and not self._is_closing:
            self._is_closing = True
            self.service.close(SHUTDOWN_SECONDS)

    def _on_sigterm(self, _signal: int, _frame: Any) -> None:
        # In another thread: the event loop of this one still has to send the responses of running calls.
        threading.Thread(target=self._shut_down, name="run-api-shutdown", daemon=True).start()

    def _shut_down(self) -> None:
        self.close()
        _terminate_children()
        logging.shutdown()
        # A normal exit would wait for blocks that never end and for Mage's own threads.
        os._exit(128 + signal.SIGTERM)

    def _restore_sigterm(self) -> None:
        """Let a forked child, such as a restarted scheduler, end at once on SIGTERM: it has no calls to wait for."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate_children() -> None:
    """Terminate Mage's scheduler, its workers and the notebook kernels, which may outlive the server."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
