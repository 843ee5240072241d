"""What Mage's editor shows, offers for download, saves and hands to its kernels, over a real server."""

import asyncio
import csv
import io
import json
import queue
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jwt
import psutil
import pytest
import requests
import yaml
from jupyter_client import BlockingKernelClient
from jupyter_client.session import Session
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from benchmarks.servers import RunningServer, run_api_command, start_server
from stack.mage_client import CLIENT_ID

SECRETS = {"JWT_SECRET": "signing-key-of-the-test-of-32-bytes", "DEFAULT_OWNER_PASSWORD": "password-of-the-test"}
SCRIPT = "<img src=x onerror=steal()>"
BLOCK = """
import pandas as pd


@data_loader
def hostile(*args, **kwargs):
    texts = ["<img src=x onerror=steal()>", "=1+2", "@SUM(A1)"]
    table = pd.DataFrame({"_name": texts, "text": texts, "amount": [-1.5, 2.0, -3.0]})
    return [table, pd.DataFrame({"bio": texts[:1]})]
"""


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("editor")
    shutil.copytree(Path(__file__).parent / "project", folder / "project")
    pipeline = folder / "project" / "pipelines" / "outputs" / "metadata.yaml"
    content = yaml.safe_load(pipeline.read_text())
    content["blocks"].append({**content["blocks"][0], "name": "hostile", "uuid": "hostile"})
    pipeline.write_text(yaml.safe_dump(content))
    (folder / "project" / "data_loaders" / "hostile.py").write_text(BLOCK)
    server = start_server(folder, *run_api_command(), REQUIRE_USER_AUTHENTICATION="1", **SECRETS)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def owner(editor: RunningServer) -> requests.Session:
    """The owner, signed in with the password and the signing key of the environment: the server still has them."""
    session = requests.Session()
    session.headers["X-API-KEY"] = CLIENT_ID
    body = {"session": {"email": "admin@admin.com", "password": SECRETS["DEFAULT_OWNER_PASSWORD"]}}
    answer = session.post(f"{editor.url}/api/sessions", json=body, timeout=20).json()
    assert "session" in answer, answer
    signed = jwt.decode(answer["session"]["token"], SECRETS["JWT_SECRET"], algorithms=["HS256"])
    session.headers["OAUTH-TOKEN"] = signed["token"]
    return session


@pytest.fixture(scope="module")
def kernel(editor: RunningServer) -> Iterator[BlockingKernelClient]:
    client = BlockingKernelClient(connection_file=connection_file(editor))
    client.load_connection_file()
    client.start_channels()
    client.kernel_info(reply=True, timeout=60)
    yield client
    client.stop_channels()


@dataclass
class Executed:
    """What the editor was told when its user ran a block."""

    server: RunningServer
    messages: str


@pytest.fixture(scope="module")
def executed(editor: RunningServer, owner: requests.Session, kernel: BlockingKernelClient) -> Executed:
    body = {"pipeline_uuid": "outputs", "uuid": "hostile", "type": "data_loader", "code": BLOCK, "api_key": CLIENT_ID}
    body["token"] = owner.headers["OAUTH-TOKEN"]

    async def execute() -> str:
        connection = await websocket_connect(
            HTTPRequest(f"{editor.url.replace('http', 'ws')}/websocket/", headers={"Origin": editor.url})
        )
        await connection.write_message(json.dumps(body))
        messages = ""
        while '"execution_state": "idle"' not in messages:
            messages += str(await asyncio.wait_for(connection.read_message(), 60))
        connection.close()
        return messages

    return Executed(editor, asyncio.run(execute()))


def kernel_process(server: RunningServer) -> psutil.Process:
    children = psutil.Process(server.process.pid).children(recursive=True)
    return next(child for child in children if "mage_server.kernels" in child.cmdline())


def connection_file(server: RunningServer) -> str:
    return kernel_process(server).cmdline()[-1]


def said(client: BlockingKernelClient, code: str) -> str:
    text = []
    reply = client.execute_interactive(
        code, timeout=60, output_hook=lambda message: text.append(message["content"].get("text", ""))
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(text)


def test_a_kernel_does_not_see_the_secrets_of_the_server(editor, kernel):
    # The first code has Mage imported, which says something about dbt.
    seen = said(kernel, "import json, os; print(json.dumps(dict(os.environ)))").splitlines()[-1]
    assert json.loads(seen).keys().isdisjoint(SECRETS)
    environment = kernel_process(editor).environ()
    assert not set(SECRETS) & set(environment)
    assert not set(SECRETS.values()) & set(environment.values())


def test_a_kernel_answers_only_to_who_can_read_its_key(editor, kernel):
    path = Path(connection_file(editor))
    assert path.stat().st_mode & 0o077 == 0
    stranger = BlockingKernelClient(session=Session(key=b""))
    stranger.load_connection_info({**json.loads(path.read_text()), "key": ""})
    stranger.start_channels()
    stranger.execute("print('stranger')")
    with pytest.raises((queue.Empty, ValueError)):
        stranger.get_shell_msg(timeout=3)
    stranger.stop_channels()


def test_texts_of_callers_are_shown_as_texts(executed, owner):
    answer = owner.get(f"{executed.server.url}/api/pipelines/outputs?include_outputs=true", timeout=20)
    block = next(block for block in answer.json()["pipeline"]["blocks"] if block["uuid"] == "hostile")
    first, second = (output["sample_data"]["rows"] for output in block["outputs"])
    assert first[0] == [SCRIPT.replace("<", "&lt;"), SCRIPT.replace("<", "&lt;"), -1.5]
    assert second == [[SCRIPT.replace("<", "&lt;")]]
    assert SCRIPT not in json.dumps(block["outputs"])
    assert SCRIPT.replace("<", "&lt;") in executed.messages
    assert SCRIPT not in executed.messages


def test_a_recorded_call_is_shown_as_texts(editor, owner):
    output = editor.output("outputs", "hostile")
    assert SCRIPT in json.dumps(output), "the caller gets the text itself"
    statement = "SELECT id FROM block_run WHERE block_uuid = 'hostile' AND status = 'COMPLETED'"
    ((block_run_id,),) = editor.wait_for_rows(statement)
    answer = owner.get(f"{editor.url}/api/block_runs/{block_run_id}/outputs", timeout=20).json()
    first, second = (output["sample_data"]["rows"] for output in answer["outputs"])
    assert first[0] == [SCRIPT.replace("<", "&lt;"), SCRIPT.replace("<", "&lt;"), -1.5]
    assert second == [[SCRIPT.replace("<", "&lt;")]]


def test_a_download_holds_no_formula_and_all_numbers(executed, owner):
    answer = owner.get(
        f"{executed.server.url}/api/pipelines/outputs/block_outputs/hostile/downloads",
        params={"api_key": CLIENT_ID, "token": owner.headers["OAUTH-TOKEN"]},
        timeout=20,
    )
    rows = list(csv.reader(io.StringIO(answer.text)))
    # Mage puts the second table behind the last cell of the first.
    assert rows[:3] == [
        ["_name", "text", "amount"],
        [SCRIPT, SCRIPT, "-1.5"],
        ["'=1+2", "'=1+2", "2.0"],
    ]
    assert rows[3][:2] == ["'@SUM(A1)", "'@SUM(A1)"]


def test_saving_and_running_in_the_editor_write_no_path_of_this_machine(executed, owner):
    path = executed.server.project / "pipelines" / "outputs" / "metadata.yaml"
    assert yaml.safe_load(path.read_text())["variables_dir"] is None, "the kernel saved the status of the block"
    answer = owner.put(
        f"{executed.server.url}/api/pipelines/outputs", json={"pipeline": {"description": "changed"}}, timeout=20
    )
    assert answer.ok
    saved = path.read_text()
    assert yaml.safe_load(saved)["description"] == "changed"
    body = {"project": {"features": {"code_block_v2": True}}}
    assert owner.put(f"{executed.server.url}/api/projects/project", json=body, timeout=20).ok
    assert "code_block_v2: true" in (executed.server.project / "metadata.yaml").read_text()
    for file in filter(Path.is_file, executed.server.project.rglob("*.yaml")):
        assert str(executed.server.folder) not in file.read_text(), file
