"""The local services as real processes."""

import os
import threading

import psutil
import pytest
import requests

from workflows.common import local_services
from workflows.common.http import local_get
from workflows.common.local_services import (
    LocalService,
    ensure_service,
    running_service,
    service_key,
    stop_services,
)
from workflows.common.processes import is_alive, recorded_process
from workflows.common.settings import get_settings
from workflows.ingestion.companies import COMPANIES_API
from workflows.local_llm.model import LLM_SERVER


@pytest.fixture(autouse=True)
def own_state_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    yield
    stop_services()


def pid_of(name: str) -> int:
    process = recorded_process(get_settings().state_dir / "services" / f"{name}.json")
    assert process is not None
    return process.pid


def test_many_at_once_get_one_service():
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(ensure_service(COMPANIES_API))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(urls)) == 1
    assert len(urls) == 4
    companies = local_get(f"{urls[0]}/companies", 5, service_key(COMPANIES_API))
    assert companies.headers["Content-Type"] == "application/json"
    assert len(companies.json()) == 12


def test_it_listens_on_this_machine_alone():
    ensure_service(COMPANIES_API)
    listening = psutil.Process(pid_of("companies_api")).connections(kind="inet")
    assert {connection.laddr.ip for connection in listening if connection.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("service", "path"), [(COMPANIES_API, "/companies"), (LLM_SERVER, "/v1/models"), (LLM_SERVER, "/slots")]
)
def test_only_who_has_the_key_of_this_start_gets_an_answer(service, path):
    url, foreign = ensure_service(service), {"Origin": "http://foreign.example", "Host": "foreign.example"}
    key = {"Authorization": f"Bearer {service_key(service)}"}
    assert requests.get(url + path, headers=key, timeout=5).status_code == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, foreign):
        assert requests.get(url + path, headers=headers, timeout=5).status_code in (401, 403)
    for answer in (
        requests.get(url + path, headers=key | foreign, timeout=5),
        requests.get(f"{url}/health", headers=foreign, timeout=5),
        requests.options(url + path, headers=foreign | {"Access-Control-Request-Method": "GET"}, timeout=5),
    ):
        # An empty one allows no origin, as none does; llama.cpp always sends it.
        assert not answer.headers.get("Access-Control-Allow-Origin")


def test_a_name_that_was_rebound_to_this_machine_is_refused():
    url, key = ensure_service(COMPANIES_API), {"Authorization": f"Bearer {service_key(COMPANIES_API)}"}
    port = url.rpartition(":")[2]
    for host in ("foreign.example", f"foreign.example:{port}", "127.0.0.1.foreign.example", "169.254.169.254"):
        for path in ("/companies", "/health"):
            assert requests.get(url + path, headers=key | {"Host": host}, timeout=5).status_code == 403
    for host in (f"localhost:{port}", f"127.0.0.1:{port}"):
        assert requests.get(f"{url}/companies", headers=key | {"Host": host}, timeout=5).ok


def test_each_start_has_a_key_that_only_its_user_can_read():
    ensure_service(COMPANIES_API)
    path, first = get_settings().state_dir / "services" / "companies_api.key", service_key(COMPANIES_API)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(first) >= 32
    command = " ".join(psutil.Process(pid_of("companies_api")).cmdline())
    assert first not in command, "every user of the machine can read the arguments of a process"
    stop_services()
    ensure_service(COMPANIES_API)
    assert service_key(COMPANIES_API) != first


def test_a_service_that_died_is_started_again():
    ensure_service(COMPANIES_API)
    first = psutil.Process(pid_of("companies_api"))
    first.kill()
    first.wait(10)
    assert running_service(COMPANIES_API) is None
    ensure_service(COMPANIES_API)
    assert pid_of("companies_api") != first.pid


def test_a_service_that_does_not_respond_is_replaced(monkeypatch):
    monkeypatch.setattr(local_services, "UNRESPONSIVE_SECONDS", 1)
    ensure_service(COMPANIES_API)
    first = psutil.Process(pid_of("companies_api"))
    first.suspend()
    url = ensure_service(COMPANIES_API)
    assert local_get(f"{url}/companies", 5, service_key(COMPANIES_API)).ok
    assert pid_of("companies_api") != first.pid
    assert not is_alive(first.pid)


def test_one_that_serves_something_else_is_replaced_and_stays_as_long():
    wanted = "one model"
    service = LocalService("companies_api", COMPANIES_API.module, content_id=lambda: wanted)
    ensure_service(service, idle_exit_seconds=0)
    first = psutil.Process(pid_of("companies_api"))
    ensure_service(service)
    assert pid_of("companies_api") == first.pid
    wanted = "another model"
    assert running_service(service) is None
    assert ensure_service(service) == running_service(service)
    assert not first.is_running()
    command = psutil.Process(pid_of("companies_api")).cmdline()
    assert command[-2:] == ["--idle-exit-seconds", "0"]


def test_another_model_file_is_another_thing_to_serve(tmp_path, monkeypatch):
    served = []
    for name, content in (("a", b"1"), ("b", b"1"), ("b", b"2")):
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        os.utime(path, ns=(len(served), len(served)))
        monkeypatch.setenv("LOCAL_MODEL_PATH", str(path))
        served.append(LLM_SERVER.content_id())
    assert len(set(served)) == 3, "the path, and the content under the same path"
    assert COMPANIES_API.content_id() is None


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch):
    url = ensure_service(COMPANIES_API)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert running_service(COMPANIES_API) == url


def test_it_ends_by_itself_when_nobody_asks():
    ensure_service(COMPANIES_API, idle_exit_seconds=1)
    assert psutil.Process(pid_of("companies_api")).wait(30) == 0


def test_stopping_ends_it_and_is_harmless_twice():
    ensure_service(COMPANIES_API)
    process = psutil.Process(pid_of("companies_api"))
    assert stop_services() == ["companies_api"]
    assert not process.is_running()
    assert stop_services() == []
