"""The editor's and the terminal's websocket: who may connect, and what a client is sent before it has signed in."""

import asyncio
import json
from typing import Any

import psutil
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from benchmarks.servers import RunningServer
from stack.mage_client import CLIENT_ID
from tests.security.conftest import FOREIGN, Client

WAIT_SECONDS = 3.0


async def connect(server: RunningServer, path: str = "/websocket/", **headers: str) -> WebSocketClientConnection:
    url = server.url.replace("http", "ws", 1) + path
    return await websocket_connect(HTTPRequest(url, headers={name.replace("_", "-"): v for name, v in headers.items()}))


def status_of_connecting(server: RunningServer, path: str = "/websocket/", **headers: str) -> int:
    async def attempt() -> int:
        try:
            (await connect(server, path, **headers)).close()
        except HTTPClientError as error:
            return error.code
        return 101

    return asyncio.run(attempt())


def message_of(token: str | None, text: str) -> str:
    """A message by which the server sends an output to its clients."""
    output = {"data": text, "msg_id": "1", "execution_metadata": {"block_uuid": "b"}, "type": "text/plain"}
    return json.dumps({"api_key": CLIENT_ID, "token": token, "output": output})


async def received(connection: WebSocketClientConnection) -> Any:
    try:
        return await asyncio.wait_for(connection.read_message(), WAIT_SECONDS)
    except TimeoutError:
        return None


class TestEditor:
    def test_a_foreign_page_does_not_connect(self, locked: RunningServer, open_server: RunningServer, owner: Client):
        for server in (locked, open_server):
            assert status_of_connecting(server, Origin=FOREIGN) == 403
            assert status_of_connecting(server, Origin="null") == 403
            assert status_of_connecting(server, Origin="http://127.0.0.1:1") == 403
        assert status_of_connecting(locked, Origin=FOREIGN, OAUTH_TOKEN=owner.token) == 403

    def test_its_own_page_connects(self, locked: RunningServer, open_server: RunningServer):
        for server in (locked, open_server):
            assert status_of_connecting(server, Origin=server.url) == 101

    def test_a_program_needs_a_token_where_users_sign_in(
        self, locked: RunningServer, open_server: RunningServer, owner: Client
    ):
        assert status_of_connecting(open_server) == 101
        assert status_of_connecting(locked) == 401
        assert status_of_connecting(locked, OAUTH_TOKEN="wrong") == 401
        assert status_of_connecting(locked, OAUTH_TOKEN=owner.token) == 101

    def test_outputs_go_only_to_clients_that_have_signed_in(self, locked: RunningServer, owner: Client):
        async def exchange() -> tuple[Any, Any, Any]:
            stranger = await connect(locked, Origin=locked.url)
            known = await connect(locked, Origin=locked.url, OAUTH_TOKEN=owner.token)
            await known.write_message(message_of(owner.token, "output of the owner"))
            seen = await received(known), await received(stranger)
            # A stranger that later sends a token as Mage's page does.
            await stranger.write_message(message_of(owner.token, "again"))
            return *seen, await received(stranger)

        known, stranger, later = asyncio.run(exchange())
        assert "output of the owner" in known
        assert stranger is None
        assert "again" in later

    def test_a_message_without_a_token_reaches_nobody_else(self, locked: RunningServer, owner: Client):
        async def exchange() -> tuple[Any, Any]:
            stranger = await connect(locked, Origin=locked.url)
            known = await connect(locked, OAUTH_TOKEN=owner.token)
            await stranger.write_message(message_of("wrong", "forged"))
            return await received(stranger), await received(known)

        stranger, known = asyncio.run(exchange())
        assert "Unauthorized" in stranger
        assert known is None


class TestTerminal:
    @pytest.mark.parametrize("path", ["/websocket/terminal", "/websocket/terminal?term_name=x"])
    def test_it_does_not_exist_while_it_is_off(self, locked: RunningServer, owner: Client, path: str):
        assert status_of_connecting(locked, path, Origin=locked.url) == 404
        assert status_of_connecting(locked, path, OAUTH_TOKEN=owner.token) == 404
        assert not shells_of(locked)

    def test_where_it_is_on_a_shell_starts_only_for_editors(self, with_terminal: RunningServer, terminal_owner: Client):
        path = "/websocket/terminal"
        assert status_of_connecting(with_terminal, path, Origin=with_terminal.url) == 401
        assert status_of_connecting(with_terminal, path) == 401
        assert status_of_connecting(with_terminal, path, OAUTH_TOKEN=terminal_owner.token, Origin=FOREIGN) == 403
        assert not shells_of(with_terminal)
        assert status_of_connecting(with_terminal, path, OAUTH_TOKEN=terminal_owner.token) == 101


def shells_of(server: RunningServer) -> list[str]:
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child.name() for child in children if child.name() in ("bash", "sh")]
