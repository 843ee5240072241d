"""Throttle Mage's sign-in, and let it take as long for unknown users as for known ones."""

import functools
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from mage_ai.api.errors import ApiError
from mage_ai.api.resources import SessionResource as session_module
from mage_ai.orchestration.db.models.oauth import User

from mage_server.security.throttle import Throttle

# The address of the client whose request is handled; the guard sets it.
client_address: ContextVar[str] = ContextVar("client_address", default="")
# Whether the password was compared during a request, which takes over a second.
_has_compared: ContextVar[bool] = ContextVar("has_compared", default=False)


def install() -> None:
    """Wrap the creation of Mage's sessions."""
    session_module.verify_password = _noting(session_module.verify_password)
    resource = session_module.SessionResource
    resource.create = classmethod(_throttled(resource.create.__func__, Throttle(time.monotonic)))


def _noting(original: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    @functools.wraps(original)
    def verify_password(password: str, password_hash: str | None) -> bool:
        _has_compared.set(True)
        # Users of a sign-in provider have no password.
        return original(password, password_hash) if password_hash else False

    return verify_password


def _throttled(original: Callable[..., Any], throttle: Throttle) -> Callable[..., Any]:
    @functools.wraps(original)
    async def create(cls: Any, payload: dict[str, Any], user: Any, **kwargs: Any) -> Any:
        if payload.get("token") and payload.get("provider"):
            return await original(cls, payload, user, **kwargs)
        account, password = payload.get("email") or payload.get("username"), payload.get("password")
        if not (isinstance(account, str) and isinstance(password, str)) or "\0" in account + password:
            raise _refused("Email/username and password are required.")
        address = client_address.get()
        if wait := throttle.wait_seconds(account, address):
            message = f"Too many failed attempts; try again in {wait:.0f} s."
            raise ApiError({"code": 429, "type": "too_many_attempts", "message": message})
        throttle.failed(account, address)
        _has_compared.set(False)
        try:
            session = await original(cls, payload, user, **kwargs)
        except ApiError as error:
            if not _has_compared.get():
                _compare_in_vain(password)
            raise _refused(error.message) from None
        throttle.succeeded(account, address)
        return session

    return create


def _refused(message: str) -> ApiError:
    return ApiError({**ApiError.RESOURCE_NOT_FOUND, "message": message})


def _compare_in_vain(password: str) -> None:
    """Spend the time of a comparison, with the hash of any user: it has the usual cost."""
    some_user = User.query.filter(User.password_hash.isnot(None)).first()
    if some_user is not None:
        session_module.verify_password(password, some_user.password_hash)
