"""Import the modules that blocks use before Mage forks the processes that run blocks.

Mage runs each block in a process forked from its scheduler. Modules imported before the fork are shared by all of
these processes; without this, each one spends seconds of CPU time on importing them. No module imported here may
start a thread, because threads do not survive a fork. Where processes are spawned instead, as on macOS,
preloading has no effect on them.
"""

import importlib
import logging

from workflows.ai_blocks.client import tls_context
from workflows.ai_blocks.prompts import preload_prompts

logger = logging.getLogger(__name__)

MODULES = (
    "workflows.ingestion.companies",
    "workflows.llm_inference.framework",
    "workflows.dynamic_blocks_workflow.fan_out",
    "workflows.dynamic_blocks_workflow.fun_facts",
    "workflows.ml_training_and_inference.explanation",
    "workflows.llm_inference.answer",
    "workflows.spark_workflow.session",
    "workflows.ml_training_and_inference.inference",
    "workflows.common.chain",
    # MLflow's client, which takes more than a second.
    "workflows.ml_training_and_inference.train_and_promote",
    "workflows.common.warehouse",
    # Imported with the first request of an asynchronous client.
    "anyio.streams.tls",
    "anyio._backends._asyncio",
)


def preload() -> None:
    """Import `MODULES`. A failed import is logged; the block that needs the module will report it."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            logger.warning("Module %s could not be preloaded: %s", name, error)
    preload_prompts()
    tls_context()
