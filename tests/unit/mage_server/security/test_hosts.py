import pytest

from mage_server.security.hosts import AllowedHosts, machine_hosts, parse_names, split_host


def of_machine() -> set[str]:
    return {"192.0.2.7", "box"}


LOOPBACK = AllowedHosts("127.0.0.1", of_machine=of_machine)
EVERYWHERE = AllowedHosts("0.0.0.0", of_machine=of_machine)
NAMED = AllowedHosts("0.0.0.0", parse_names("Mage.example.com:443, b.example,"), of_machine)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", ("localhost", None)),
        ("LocalHost.:80", ("localhost", 80)),
        ("[::1]:6789", ("::1", 6789)),
        ("", None),
        ("a:b", None),
        ("a:99999", None),
        ("evil@127.0.0.1", None),
        ("127.0.0.1/x", None),
        ("127.0.0.1,evil", None),
        ("[::1", None),
    ],
)
def test_split_host(host: str, expected: tuple | None):
    assert split_host(host) == expected


@pytest.mark.parametrize(
    "host", ["localhost:1", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "192.0.2.7", "box", None]
)
def test_this_machine_is_always_allowed(host: str | None):
    assert all(hosts.allows(host) for hosts in (LOOPBACK, EVERYWHERE, NAMED))


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "192.0.2.8", "127.0.0.1.example", "", "a b"]
)
def test_other_names_are_refused_on_loopback_and_where_names_are_set(host: str):
    assert not LOOPBACK.allows(host)
    assert not NAMED.allows(host)


def test_elsewhere_the_user_knows_the_names():
    assert EVERYWHERE.allows("any.example")
    assert NAMED.allows("mage.example.com")
    assert NAMED.allows("b.example:8080")
    assert AllowedHosts("192.0.2.9", {"x"}, of_machine).allows("192.0.2.9:80")


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://127.0.0.1:6789", "127.0.0.1:6789", True),
        ("http://[::1]:6789", "[::1]:6789", True),
        ("https://mage.test", "mage.test", True),
        ("https://mage.test", "mage.test:443", True),
        ("http://mage.test:80", "mage.test", True),
        ("http://127.0.0.1:8000", "127.0.0.1:6789", False),
        ("http://localhost:6789", "127.0.0.1:6789", False),
        ("https://mage.test", "mage.test:80", False),
        ("null", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        ("file://", "127.0.0.1", False),
        ("http://a:bad", "a", False),
        ("http://evil.example", None, False),
    ],
)
def test_is_own_origin(origin: str, host: str | None, is_own: bool):
    assert LOOPBACK.is_own_origin(origin, host) is is_own


def test_an_allowed_name_is_an_own_origin_behind_a_proxy():
    assert NAMED.is_own_origin("https://mage.example.com", "127.0.0.1:6789")
    assert not NAMED.is_own_origin("https://evil.example", "127.0.0.1:6789")


def test_the_machine_has_a_loopback_address():
    assert "127.0.0.1" in machine_hosts()
