"""Clients that hang up, are slow or send rubbish; many calls at a time; no token in any log."""

import concurrent.futures
import json
import time
from pathlib import Path
from uuid import uuid4

import psutil
import requests

from benchmarks.servers import RunningServer, run_api_command, start_server
from stack.mage_client import wait_until

MIB = 1024 * 1024


def request_of(server: RunningServer, body: bytes, length: int | None = None, token: str | None = None) -> bytes:
    token = token or server.token("behaviour")
    head = (
        f"POST /api/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length or len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


def call_body(variables: dict, block: str = "wait") -> bytes:
    return json.dumps({"run": {"pipeline_uuid": "behaviour", "block_uuid": block, "variables": variables}}).encode()


def test_the_server_answers_while_16_slow_calls_are_under_way(server: RunningServer):
    with requests.Session() as session:
        session.get(f"{server.url}/api/statuses", timeout=30)
        with concurrent.futures.ThreadPoolExecutor(16) as clients:
            begin = time.monotonic()
            calls = [clients.submit(server.call, "behaviour", "wait", {"seconds": 3}) for _ in range(16)]
            time.sleep(1)
            seconds = []
            while time.monotonic() - begin < 2.8:
                asked = time.monotonic()
                assert session.get(f"{server.url}/api/statuses", timeout=30).ok
                seconds.append(time.monotonic() - asked)
                time.sleep(0.05)
            assert [call.result().status_code for call in calls] == [200] * 16
            total = time.monotonic() - begin
    assert total < 6, "the calls ran one after the other"
    assert sorted(seconds)[len(seconds) // 2] < 0.1


def test_a_client_that_hangs_up_while_it_waits_costs_no_execution(tight: RunningServer):
    """Two workers are busy; the third call waits in the queue, its client goes, and it never runs."""
    mark = uuid4().hex
    with concurrent.futures.ThreadPoolExecutor(2) as clients:
        busy = [clients.submit(tight.call, "behaviour", "wait", {"seconds": 1.2}) for _ in range(2)]
        time.sleep(0.5)
        connection = tight.connect()
        connection.sendall(request_of(tight, call_body({"seconds": 0, "mark": mark})))
        time.sleep(0.3)
        connection.close()
        assert [call.result().status_code for call in busy] == [200, 200]
    tight.call("behaviour", "say", {"mark": f"after {mark}"})
    tight.wait_for_rows("SELECT 1 FROM pipeline_run WHERE variables LIKE ?", f"%after {mark}%")
    assert len(tight.rows("SELECT 1 FROM pipeline_run WHERE variables LIKE ?", f"%{mark}%")) == 1


def test_a_slow_body_is_cut_off(tight: RunningServer):
    connection = tight.connect()
    connection.sendall(request_of(tight, b"{", length=1000))
    begin = time.monotonic()
    try:
        while connection.recv(100):
            pass
    except ConnectionError:
        pass
    assert time.monotonic() - begin < 5
    assert tight.call("behaviour", "say").status_code == 200


def test_slow_bodies_do_not_keep_others_waiting(tight: RunningServer):
    connections = [tight.connect() for _ in range(100)]
    for connection in connections:
        connection.sendall(request_of(tight, b"{", length=1000))
    begin = time.monotonic()
    assert tight.call("behaviour", "say").status_code == 200
    assert time.monotonic() - begin < 3
    for connection in connections:
        connection.close()


def test_bad_requests_leave_the_memory_flat(server: RunningServer):
    token = server.token("behaviour")
    bad = [
        (b"{", f"Bearer {token}"),
        (b"[]", f"Bearer {token}"),
        (b"x" * 5000, "Bearer wrong"),
        (b'{"run": {"pipeline_uuid": "nowhere%d", "block_uuid": "say"}}', f"Bearer {token}"),
        (b'{"run": {"pipeline_uuid": "behaviour", "block_uuid": "nothing%d"}}', f"Bearer {token}"),
        (b'{"run": {"pipeline_uuid": "outputs", "block_uuid": "say"}}', f"Bearer {token}"),
    ]

    def send(count: int) -> set[int]:
        with requests.Session() as session:
            return {
                session.post(
                    f"{server.url}/api/runs",
                    data=bad[number % len(bad)][0].replace(b"%d", str(number).encode()),
                    headers={"Authorization": bad[number % len(bad)][1]},
                    timeout=60,
                ).status_code
                for number in range(count)
            }

    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        list(clients.map(send, [250] * 4))
        before = server.memory()
        statuses = set().union(*clients.map(send, [750] * 4))
    assert statuses == {400, 401, 403, 404}
    # Two kilobytes a request.
    assert server.memory() - before < 6 * MIB
    assert server.call("behaviour", "say").status_code == 200


def test_rubbish_instead_of_http(server: RunningServer):
    for rubbish in (
        b"\x00\x01\x02\r\n\r\n",
        b"POST /api/runs HTTP/9.9\r\n\r\n",
        b"POST /api/runs HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"A" * 70_000,
    ):
        connection = server.connect()
        connection.sendall(rubbish)
        connection.close()
    assert server.call("behaviour", "say").status_code == 200


def test_no_token_in_any_log(server: RunningServer):
    tokens = {row[0] for row in server.rows("SELECT token FROM pipeline_schedule WHERE token IS NOT NULL")}
    for token in tokens:
        body = {"run": {"pipeline_uuid": "behaviour", "block_uuid": "fail"}}
        for path in (f"/api/runs/{token}", f"/api/runs/{token}/", f"/api/runs/{token}/x/y", f"//api/runs/{token}"):
            for method in ("GET", "POST", "PUT"):
                requests.request(method, server.url + path, json=body, timeout=30)
        requests.post(f"{server.url}/api/runs?token={token}", json=body, timeout=30)
        requests.post(f"{server.url}/api/pipeline_schedules/1/pipeline_runs/{token}x", json={}, timeout=30)
    time.sleep(0.5)
    texts = [server.log, *(path.read_text() for path in (server.folder / "data").glob("**/.logs/**/*.log"))]
    assert "/api/runs/[token]" in server.log
    assert not [token for token in tokens for text in texts if token in text]


def test_calls_under_way_end_before_the_server_does(project_folder: Path):
    server = start_server(project_folder, *run_api_command())
    first, second = project_folder / "first", project_folder / "second"
    try:
        with concurrent.futures.ThreadPoolExecutor(3) as clients:
            ends = {"seconds": 2, "started": str(first), "mark": "last"}
            call = clients.submit(server.call, "behaviour", "wait", ends)
            never_ends = {"seconds": 600, "started": str(second)}
            endless = clients.submit(_ignore_errors, server.call, "behaviour", "wait", never_ends)
            wait_until(lambda: first.exists() and second.exists(), 20, poll_seconds=0.05)
            scheduler_and_helpers = psutil.Process(server.process.pid).children(recursive=True)
            begin = time.monotonic()
            server.process.terminate()
            assert call.result().status_code == 200
            server.process.wait(timeout=15)
            assert time.monotonic() - begin < 12
            endless.result()
        assert psutil.wait_procs(scheduler_and_helpers, timeout=5)[1] == []
        assert len(server.rows("SELECT 1 FROM pipeline_run WHERE variables LIKE '%last%'")) == 1
    finally:
        server.stop()


def _ignore_errors(function, *arguments) -> None:
    try:
        function(*arguments)
    except requests.RequestException:
        return
