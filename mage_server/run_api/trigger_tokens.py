"""Authentication by the tokens of API triggers, and authorization by the pipelines of these triggers."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mage_server.run_api.http_errors import forbidden, unauthorized

TTL_SECONDS = 2.0
# Maximum age of the triggers when a token is unknown: a new trigger works at once, and many calls with wrong tokens
# read the database at most four times a second.
UNKNOWN_TOKEN_TTL_SECONDS = 0.25


@dataclass(frozen=True)
class Trigger:
    """An API trigger; `digest` is the SHA-256 of its token. The token itself is not kept."""

    id: int
    pipeline_uuid: str
    is_active: bool
    digest: bytes


def token_digest(token: str) -> bytes:
    """Return the SHA-256 of a token; digests are compared instead of tokens."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def bearer_token(authorization: str | None) -> str | None:
    """Return the token of an `Authorization` header, or None if it holds none."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def authenticate(triggers: Sequence[Trigger], token: str | None) -> list[Trigger]:
    """Return the triggers that have this token, in a time that does not depend on the token.

    Raises:
        ApiError: 401, no trigger has it.
    """
    if not token:
        raise unauthorized()
    digest = token_digest(token)
    # Compare with every trigger: stopping at a match would reveal its position through the response time.
    flags = [hmac.compare_digest(trigger.digest, digest) for trigger in triggers]
    found = [trigger for trigger, is_same in zip(triggers, flags, strict=True) if is_same]
    if not found:
        raise unauthorized()
    return found


def authorize(triggers: Sequence[Trigger], pipeline_uuid: str) -> Trigger:
    """Return the active trigger that belongs to a pipeline.

    Args:
        triggers: The triggers that have the caller's token.
        pipeline_uuid: The pipeline of the block that is called.

    Raises:
        ApiError: 403, no trigger belongs to the pipeline, or none of those that do is active.
    """
    of_pipeline = [trigger for trigger in triggers if trigger.pipeline_uuid == pipeline_uuid]
    if not of_pipeline:
        raise forbidden("The token belongs to another pipeline")
    active = [trigger for trigger in of_pipeline if trigger.is_active]
    if not active:
        raise forbidden("The trigger of this token is inactive; activate it in Mage")
    return active[0]


class TriggerCache:
    """The API triggers in the database, cached for a short time.

    Args:
        load: Reads the triggers. It runs outside the event loop, once at a time.
        ttl_seconds: Maximum age of the cached triggers.
    """

    def __init__(self, load: Callable[[], Sequence[Trigger]], ttl_seconds: float = TTL_SECONDS):
        self._load = load
        self._ttl = ttl_seconds
        self._triggers: Sequence[Trigger] = ()
        self._read_at = -float("inf")
        self._lock: asyncio.Lock | None = None

    async def get(self, max_age_seconds: float | None = None) -> Sequence[Trigger]:
        """Return the triggers, reading them again if they are older than `max_age_seconds` (default: the TTL)."""
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
