"""Find the signed-in user of a request, as Mage's API does."""

from contextvars import ContextVar
from typing import Any

import jwt
from mage_ai.api.utils import authenticate_client_and_token, has_at_least_editor_role, parse_cookie_header
from mage_ai.authentication.oauth2 import decode_token
from mage_ai.data_preparation.repo_manager import get_project_uuid
from mage_ai.orchestration.constants import Entity
from mage_ai.orchestration.db.models.oauth import Oauth2Application, User
from mage_ai.server.api.constants import COOKIE_OAUTH_TOKEN, HEADER_OAUTH_TOKEN
from mage_ai.settings import OAUTH2_APPLICATION_CLIENT_ID, REQUIRE_USER_AUTHENTICATION
from tornado.httputil import HTTPHeaders

from mage_server.run_api.trigger_tokens import bearer_token

# The headers of the request that is handled; the guard sets them.
current_headers: ContextVar[HTTPHeaders | None] = ContextVar("current_headers", default=None)


def is_signed_in() -> bool:
    """Whether the request that is handled comes from a signed-in user, or nobody has to sign in."""
    headers = current_headers.get()
    return not REQUIRE_USER_AUTHENTICATION or (headers is not None and signed_in_user(headers) is not None)


def signed_in_user(headers: HTTPHeaders) -> User | None:
    """Return the user whose token a request holds in a header or in Mage's cookie, or None."""
    token = headers.get(HEADER_OAUTH_TOKEN) or bearer_token(headers.get("Authorization"))
    return user_of_token(token or _cookie_token(headers.get("Cookie", "")))


def user_of_token(token: Any) -> User | None:
    """Return the user who holds a valid token, or None."""
    if not isinstance(token, str) or not token or "\0" in token:
        return None
    client = Oauth2Application.query.filter(Oauth2Application.client_id == OAUTH2_APPLICATION_CLIENT_ID).first()
    if client is None:
        return None
    found, is_valid = authenticate_client_and_token(client.id, token)
    return found.user if is_valid and found is not None else None


def may_edit(user: User | None) -> bool:
    """Whether a user may edit pipelines. Mage's function says yes where there is no user."""
    return user is not None and bool(has_at_least_editor_role(user, Entity.PROJECT, get_project_uuid()))


def _cookie_token(header: str) -> str | None:
    cookie = parse_cookie_header(header).get(COOKIE_OAUTH_TOKEN)
    if not cookie:
        return None
    try:
        token: str | None = decode_token(cookie).get("token")
    except jwt.exceptions.InvalidTokenError:
        return None
    return token
