import pytest

from workflows.common.proxies import exempt_this_machine, through_proxy

OWN = "localhost,127.0.0.1,::1"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, OWN),
        ({"no_proxy": "intranet.example"}, f"intranet.example,{OWN}"),
        ({"NO_PROXY": "intranet.example, localhost"}, "intranet.example,localhost,127.0.0.1,::1"),
        ({"no_proxy": "*", "NO_PROXY": "*"}, "*"),
    ],
)
def test_this_machine_is_exempt_in_either_case(given, expected):
    environment = dict(given)
    exempt_this_machine(environment)
    assert environment == {"no_proxy": expected, "NO_PROXY": expected}
    exempt_this_machine(environment)
    assert environment["no_proxy"] == expected


def test_the_proxy_of_an_address_is_named_without_its_password(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, OWN)
    monkeypatch.setenv("http_proxy", "http://user:hidden-word@proxy.example:3128")
    assert "proxy.example:3128" in through_proxy("http://api.example/companies")
    assert "hidden-word" not in through_proxy("http://api.example/companies")
    for address in ("http://127.0.0.1:8000/v1", "no address", "http://["):
        assert through_proxy(address) == ""
