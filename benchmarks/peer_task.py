"""The task that each peer of `dynamic_blocks_workflow` runs per item: one call of a language model.

Needs the standard library alone, since each peer has an environment of its own.
"""

import json
import os
import urllib.request


def ask(number: int) -> str:
    """Ask the model of `OPENAI_BASE_URL` about a number and return its answer."""
    message = {"role": "user", "content": f"A fun fact about {number}"}
    request = urllib.request.Request(
        f"{os.environ['OPENAI_BASE_URL']}/chat/completions",
        data=json.dumps({"model": os.environ["LLM_MODEL"], "messages": [message]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])
