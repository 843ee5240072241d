"""The editor's websocket: nothing is sent to a client, nor run for it, before it has signed in."""

import json
from typing import Any

from mage_ai.api.errors import ApiError
from mage_ai.server.kernel_output_parser import DataType
from mage_ai.server.websocket_server import WebSocketServer
from mage_ai.settings import REQUIRE_USER_AUTHENTICATION
from tornado.websocket import WebSocketClosedError

from mage_server.security.users import signed_in_user, user_of_token

MAX_NAME_CHARACTERS = 255


class EditorSocket(WebSocketServer):
    """Joins the clients that get blocks' outputs only once its user is known.

    Mage's page sends its cookie when it connects and its token with every message. Mage itself adds every connection
    to the clients, and checks only the messages.
    """

    _has_joined = False

    def open(self) -> None:
        """Join at once where the cookie or a header says who connects, or nobody has to sign in."""
        if not REQUIRE_USER_AUTHENTICATION or signed_in_user(self.request.headers) is not None:
            self._join()

    def on_close(self) -> None:
        """Leave the clients."""
        if self._has_joined:
            super().on_close()

    async def on_message(self, raw_message: str | bytes) -> None:
        """Handle a message of a signed-in user; Mage checks what this user may do."""
        try:
            message = json.loads(raw_message)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.close(1003, "A message is a JSON object")
            return
        if REQUIRE_USER_AUTHENTICATION and user_of_token(message.get("token")) is None:
            # Mage would send this to all clients.
            await self._send_unauthorized(message)
            return
        if not self._has_joined:
            self._join()
        await super().on_message(raw_message)

    def _join(self) -> None:
        super().open()
        self._has_joined = True

    async def _send_unauthorized(self, message: dict[str, Any]) -> None:
        answer = {
            "data": ApiError.UNAUTHORIZED_ACCESS["message"],
            "execution_state": "idle",
            "type": DataType.TEXT_PLAIN,
            "uuid": str(message.get("uuid") or "")[:MAX_NAME_CHARACTERS],
        }
        try:
            await self.write_message(json.dumps(answer))
        except WebSocketClosedError:
            return
