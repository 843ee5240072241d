"""Work that the server's process repeats in a thread, as long as it lives."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


def repeat(work: Callable[[], None], every_seconds: float, name: str) -> None:
    """Start a thread that does some work, at once and after each pause; what fails is logged, and done again."""

    def run() -> None:
        while True:
            try:
                work()
            except Exception:
                logger.exception("The thread %s failed, and goes on", name)
            time.sleep(every_seconds)

    threading.Thread(target=run, name=name, daemon=True).start()
