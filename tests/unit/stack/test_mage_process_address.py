"""Under which address this machine reaches a server."""

import socket

import pytest

from stack.mage_process import MageProcess, StackError, check_can_start
from stack.secrets import Secrets
from workflows.common.settings import Settings

SECRETS = Secrets(owner_password="password", jwt_secret="secret")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:7000"),
        ("0.0.0.0", "http://127.0.0.1:7000"),
        ("::", "http://[::1]:7000"),
        ("::1", "http://[::1]:7000"),
        ("localhost", "http://localhost:7000"),
    ],
)
def test_the_url_follows_the_listen_address(tmp_path, address, url):
    assert MageProcess(Settings(listen_address=address, port=7000, state_dir=tmp_path), SECRETS).url == url


@pytest.mark.parametrize("base", ["mage", "/mage/"])
def test_the_url_has_the_base_path(tmp_path, monkeypatch, base):
    monkeypatch.setenv("MAGE_BASE_PATH", base)
    assert MageProcess(Settings(port=7000, state_dir=tmp_path), SECRETS).url == "http://127.0.0.1:7000/mage"


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False)])
def test_whether_users_have_to_sign_in(tmp_path, monkeypatch, value, expected):
    monkeypatch.setenv("REQUIRE_USER_AUTHENTICATION", value)
    assert MageProcess(Settings(state_dir=tmp_path), SECRETS).needs_sign_in is expected


@pytest.mark.skipif(not socket.has_ipv6, reason="This machine has no IPv6")
@pytest.mark.parametrize("address", ["::", "::1"])
def test_an_ipv6_address_is_not_taken_for_a_port_in_use(tmp_path, address):
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::1", 0))
        free = listener.getsockname()[1]
    settings = Settings(listen_address=address, port=free, state_dir=tmp_path)
    check_can_start(settings)
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind((address, free))
        listener.listen()
        with pytest.raises(StackError, match=f"Port {free} of {address} is in use"):
            check_can_start(settings)


@pytest.mark.parametrize("address", ["192.0.2.1", "no such host"])
def test_an_address_of_another_machine_is_said(tmp_path, address):
    with pytest.raises(StackError, match=f"LISTEN_ADDRESS {address} is no address of this machine"):
        check_can_start(Settings(listen_address=address, state_dir=tmp_path))
