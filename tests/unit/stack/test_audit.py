"""`make audit` against an advisory service of this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack.audit import LOCKS, vulnerabilities
from workflows.common.errors import ServiceError
from workflows.common.settings import REPO_PATH

pytest.importorskip("pip_audit")
LOCK = "tornado==6.4.2 \\\n    --hash=sha256:" + "0" * 64 + "\nidna==3.20 \\\n    --hash=sha256:" + "0" * 64 + "\n"
ADVISORY = {
    "id": "GHSA-7cx3-6m66-7c5m",
    "aliases": ["CVE-2025-47287"],
    "affected": [
        {
            "package": {"name": "tornado", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "6.5"}]}],
            "versions": ["6.4.2"],
        }
    ],
    "modified": "2025-05-16T00:00:00Z",
}


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "some.lock"
    path.write_text(LOCK)
    return path


@pytest.fixture
def osv():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_bad = question["package"]["name"] == "tornado"
            body = json.dumps({"vulns": [ADVISORY]} if is_bad else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()


def test_a_known_vulnerability_is_named_with_what_fixes_it(lock, osv):
    (line,) = vulnerabilities(lock, osv)
    assert line.startswith("tornado 6.4.2: ")
    assert "CVE-2025-47287" in line
    assert line.endswith("fixed in 6.5")


def test_without_the_service_it_says_that_nothing_is_known(lock):
    with pytest.raises(ServiceError, match=r"^Nothing is known of some\.lock: the advisory service at .* cannot"):
        list(vulnerabilities(lock, "http://127.0.0.1:9/v1/query"))


def test_the_locks_hold_hashes_and_no_addresses():
    for name in (*LOCKS, "bootstrap"):
        text = (REPO_PATH / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
        assert "://" not in text
        packages = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert packages
        assert all(line.endswith("\\") for line in packages), "each package is followed by its hashes"
