"""Keep requests to this machine away from the proxy that the environment names for the others."""

import os
from collections.abc import MutableMapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from workflows.common.redaction import redact

OWN_NAMES = ("localhost", "127.0.0.1", "::1")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")


def exempt_this_machine(environment: MutableMapping[str, str] = os.environ) -> None:
    """Add this machine's names to `no_proxy`, which every client reads: httpx, requests (MLflow) and gRPC (Spark).

    A proxy, on whichever machine it runs, would look for the service on its own.
    """
    for variable in _EXCEPTIONS:
        given = next(filter(None, map(environment.get, (variable, *_EXCEPTIONS))), "")
        names = [name.strip() for name in given.split(",") if name.strip()]
        if "*" not in names:
            environment[variable] = ",".join([*names, *(name for name in OWN_NAMES if name not in names)])


def through_proxy(url: str) -> str:
    """Name the proxy through which an address is asked, without its password, for the end of a message."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    proxy = getproxies().get(parts.scheme) or getproxies().get("all")
    return f", through the proxy {redact(proxy)}" if proxy and not proxy_bypass(parts.hostname or "") else ""
