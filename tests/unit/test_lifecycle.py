"""The local services as real processes."""

import threading

import psutil
import pytest
import requests

from workflows.services import lifecycle
from workflows.services.lifecycle import ensure_service, running_service, stop_services
from workflows.settings import get_settings


@pytest.fixture(autouse=True)
def own_state_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    yield
    stop_services()


def pid_of(name: str) -> int:
    process = lifecycle.recorded_process(get_settings().state_dir / "services" / f"{name}.json")
    assert process is not None
    return process.pid


def test_many_at_once_get_one_service():
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(ensure_service("companies_api"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(urls)) == 1
    assert len(urls) == 4
    companies = requests.get(f"{urls[0]}/companies", timeout=5)
    assert companies.headers["Content-Type"] == "application/json"
    assert len(companies.json()) == 12


def test_it_listens_on_this_machine_alone():
    ensure_service("companies_api")
    listening = psutil.Process(pid_of("companies_api")).connections(kind="inet")
    assert {connection.laddr.ip for connection in listening if connection.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_a_service_that_died_is_started_again():
    ensure_service("companies_api")
    first = psutil.Process(pid_of("companies_api"))
    first.kill()
    first.wait(10)
    assert running_service("companies_api") is None
    ensure_service("companies_api")
    assert pid_of("companies_api") != first.pid


def test_it_ends_by_itself_when_nobody_asks():
    ensure_service("companies_api", idle_exit_seconds=1)
    assert psutil.Process(pid_of("companies_api")).wait(30) == 0


def test_stopping_ends_it_and_is_harmless_twice():
    ensure_service("companies_api")
    process = psutil.Process(pid_of("companies_api"))
    assert stop_services() == ["companies_api"]
    assert not process.is_running()
    assert stop_services() == []
