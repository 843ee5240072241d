"""Load what blocks import before Mage forks the processes that run them.

Mage runs each block in a process forked from its scheduler, and each would load its libraries again:
seconds of a core for every block. What is loaded before the fork is shared by all. Only imports: nothing
here may start a thread, which would not survive the fork. Where processes are spawned, as on macOS, it has
no effect on them.
"""

import importlib
import logging

logger = logging.getLogger(__name__)

MODULES = (
    "workflows.ingestion.companies",
    "workflows.advice.framework",
    "workflows.dynamic_blocks.fun_facts",
    "workflows.survival.explanation",
    "workflows.advice.survival_advice",
    "workflows.spark.session",
    "workflows.survival.training",
    "workflows.survival.inference",
    "workflows.common.warehouse",
)


def preload() -> None:
    """Import the modules above; one that cannot be imported is left to the block that needs it."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            logger.warning("%s is not loaded ahead: %s", name, error)
