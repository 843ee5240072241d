"""Which API trigger a token belongs to."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mage_server.run_api.http_errors import forbidden, unauthorized

TTL_SECONDS = 2.0
# An unknown token asks again this soon: a trigger made a moment ago must work at once, a flood must not count.
MISS_TTL_SECONDS = 0.25


@dataclass(frozen=True)
class Trigger:
    """An API trigger; `digest` is the SHA-256 of its token, and the token itself is not kept."""

    id: int
    pipeline_uuid: str
    is_active: bool
    digest: bytes


def digest_of(token: str) -> bytes:
    """Return what tokens are compared by."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def bearer_token(authorization: str | None) -> str | None:
    """Return the token of an `Authorization` header, None where there is none."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def matching(triggers: Sequence[Trigger], token: str | None) -> list[Trigger]:
    """Return the triggers that have this token; every one is compared, in constant time.

    Raises:
        ApiError: 401, there is none.
    """
    if not token:
        raise unauthorized()
    digest = digest_of(token)
    # No short cut: the time must not tell where in the list a token stands.
    flags = [hmac.compare_digest(trigger.digest, digest) for trigger in triggers]
    found = [trigger for trigger, is_same in zip(triggers, flags, strict=True) if is_same]
    if not found:
        raise unauthorized()
    return found


def allowed(triggers: Sequence[Trigger], pipeline_uuid: str) -> Trigger:
    """Return the active trigger of the pipeline asked for.

    Raises:
        ApiError: 403.
    """
    own = [trigger for trigger in triggers if trigger.pipeline_uuid == pipeline_uuid]
    if not own:
        raise forbidden("The token belongs to another pipeline")
    active = [trigger for trigger in own if trigger.is_active]
    if not active:
        raise forbidden("The trigger that the token belongs to is inactive; activate it in Mage")
    return active[0]


class TriggerTable:
    """The API triggers as the database has them, at most `TTL_SECONDS` old.

    Args:
        load: Reads them; called off the event loop, once at a time.
        ttl_seconds: How long they are believed.
    """

    def __init__(self, load: Callable[[], Sequence[Trigger]], ttl_seconds: float = TTL_SECONDS):
        self._load = load
        self._ttl = ttl_seconds
        self._triggers: Sequence[Trigger] = ()
        self._read_at = -float("inf")
        self._lock: asyncio.Lock | None = None

    async def current(self, max_age_seconds: float | None = None) -> Sequence[Trigger]:
        """Return the triggers, read again where they are older than the age."""
        limit = self._ttl if max_age_seconds is None else max_age_seconds
        if time.monotonic() - self._read_at < limit:
            return self._triggers
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            if time.monotonic() - self._read_at >= limit:
                read_at = time.monotonic()
                self._triggers = await asyncio.get_running_loop().run_in_executor(None, self._load)
                self._read_at = read_at
            return self._triggers
