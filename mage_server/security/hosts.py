"""Decide whether a `Host` header may reach this server, and whether an `Origin` is the server's own.

A page whose name an attacker points at this machine (DNS rebinding) sends that name as `Host`.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

import psutil

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def machine_hosts() -> set[str]:
    """Return the addresses of this machine's network interfaces, and its name."""
    addresses = {
        address.address.partition("%")[0].lower() for each in psutil.net_if_addrs().values() for address in each
    }
    return addresses | {socket.gethostname().lower()}


@lru_cache(maxsize=256)
def split_host(host: str) -> tuple[str, int | None] | None:
    """Return name and port of a `Host` header, or None if it is no valid one."""
    text = host.strip().lower()
    if not text or any(character in text for character in "/@,?#\\ "):
        return None
    try:
        parts = urlsplit(f"//{text}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    return (name.rstrip("."), port) if name else None


@lru_cache(maxsize=256)
def is_loopback(name: str) -> bool:
    """Whether a name always means this machine."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


@dataclass(frozen=True)
class AllowedHosts:
    """The hosts by which this server may be reached.

    Attributes:
        listen_address: Address that the server listens on.
        names: Further hosts, as set in ALLOWED_HOSTS. Without any, a server that listens beyond loopback allows every
            host: only its user knows by which names other machines and proxies reach it.
        of_machine: Returns the names and addresses of this machine.
    """

    listen_address: str
    names: Collection[str] = ()
    of_machine: Callable[[], Collection[str]] = field(default=machine_hosts, repr=False)

    def allows(self, host: str | None) -> bool:
        """Whether a request with this `Host` may be answered. Browsers always send one, other clients may not."""
        if host is None:
            return True
        parts = split_host(host)
        if parts is None:
            return False
        name = parts[0]
        if not self.names and not is_loopback(self.listen_address.strip("[]").lower()):
            return True
        return self._is_named(name) or is_loopback(name) or name in self.of_machine()

    def is_own_origin(self, origin: str, host: str | None) -> bool:
        """Whether an `Origin` is that of the server's own pages: the `Host` of the request, or an allowed name."""
        try:
            parts = urlsplit(origin.strip().lower())
            port = parts.port or DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            return False
        if not parts.hostname or port is None:
            return False
        own = split_host(host or "")
        default = DEFAULT_PORTS.get(parts.scheme)
        if own is not None and (parts.hostname.rstrip("."), port) == (own[0], own[1] or default):
            return True
        # A proxy that does not hand on the name that the browser used.
        return parts.hostname.rstrip(".") in self.names

    def _is_named(self, name: str) -> bool:
        return name in self.names or name == self.listen_address.strip("[]").lower()


def parse_names(text: str | None) -> frozenset[str]:
    """Return the hosts of ALLOWED_HOSTS, which are separated by commas; ports are ignored."""
    parts = [split_host(name) for name in (text or "").split(",")]
    return frozenset(part[0] for part in parts if part is not None)
