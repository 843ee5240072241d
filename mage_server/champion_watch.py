"""Keep the champion of the survival model on this machine as MLflow names it, whoever promoted it.

A thread of the server's process looks twice a second: at the times of two files if MLflow's store is the local one,
otherwise at MLflow's server. Predictions read the kept champion alone.
"""

import logging
import os

from mage_server.repeated import repeat
from workflows.common.errors import WorkflowError
from workflows.common.settings import Settings
from workflows.ml_training_and_inference.artifact import UnusableVersionError
from workflows.ml_training_and_inference.champion import CHAMPION_FILE
from workflows.ml_training_and_inference.registry import DATABASE_FILE, Registry

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.5


class ChampionWatch:
    """Watches MLflow's champion; its first look creates the local store, so that the first training need not.

    Args:
        settings: MLflow's address and the state folder.
    """

    def __init__(self, settings: Settings):
        self._models = Registry(settings.models_dir, settings.mlflow_tracking_uri)
        self._seen: object = None
        self._problem: str | None = None

    def start(self) -> None:
        """Start the thread."""
        repeat(self.look, INTERVAL_SECONDS, "champion-watch")

    def look(self) -> None:
        """Keep MLflow's champion if it is another one than before; log a problem once, not at every look."""
        seen = self._file_times() if self._models.is_local else None
        if seen is not None and seen == self._seen:
            return
        try:
            self._models.refresh()
        except (WorkflowError, UnusableVersionError) as error:
            if str(error) != self._problem:
                logger.warning("MLflow's champion cannot be read, the kept one goes on serving: %s", error)
            self._problem = str(error)
            return
        if self._problem:
            logger.info("MLflow's champion can be read again")
        self._problem = None
        self._seen = seen

    def _file_times(self) -> object:
        """Return when the local store and the kept champion changed, None if one of them is missing."""
        try:
            return [os.stat(self._models.models_dir / name).st_mtime_ns for name in (DATABASE_FILE, CHAMPION_FILE)]
        except FileNotFoundError:
            return None
