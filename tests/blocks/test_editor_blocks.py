"""Blocks as the editor runs them: without input, and made from the templates of this project."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.servers import instant_model
from stack.project_graph import read_graph
from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.common.settings import REPO_PATH

GRAPH = read_graph(REPO_PATH)
NEEDS_NO_INPUT = {
    "core_users",
    "load_passengers",
    "trigger_spark_workflow_for_empty_plan",
    "trigger_ml_training_and_inference",
    "trigger_llm_inference",
}
BELOW = [
    (name, block["uuid"], block["type"] == "chart")
    for name, pipeline in GRAPH.pipelines.items()
    for block in pipeline.blocks + pipeline.shown_blocks
    if block["upstream_blocks"] and block["uuid"] not in NEEDS_NO_INPUT
]
TEMPLATES = [path.name for path in (REPO_PATH / "custom_templates" / "blocks").iterdir()]


@pytest.fixture
def editor(monkeypatch, mage) -> None:
    """The changes to the editor, in this process."""
    from mage_ai.data_preparation.models.block import Block
    from mage_ai.data_preparation.models.pipeline import Pipeline

    from mage_server import editor

    for name in ("to_dict", "to_dict_base"):
        monkeypatch.setattr(Pipeline, name, getattr(Pipeline, name))
    monkeypatch.setattr(Block, "execute_with_callback", Block.execute_with_callback)
    editor.install()


@pytest.mark.parametrize(("pipeline", "block", "is_chart"), BELOW)
def test_a_block_without_input_names_the_blocks_to_run(editor, pipeline, block, is_chart):
    from mage_ai.data_preparation.models.pipeline import Pipeline

    loaded = Pipeline.get(pipeline, repo_path=str(REPO_PATH))
    found = loaded.get_block(block, widget=is_chart)
    above = ", ".join(one.uuid for one in found.upstream_blocks)
    with pytest.raises(NotReadyError) as raised:
        found.execute_with_callback(from_notebook=True, global_vars=dict(loaded.variables), update_status=False)
    assert str(raised.value) == f"{block} has no input: run the blocks above first ({above})"


def test_wrong_input_is_named_although_nothing_ran_above(editor):
    from mage_ai.data_preparation.models.pipeline import Pipeline

    block = Pipeline.get("ml_training_and_inference", repo_path=str(REPO_PATH)).get_block("online_inference")
    with pytest.raises(InvalidInputError, match="age"):
        block.execute_with_callback(from_notebook=True, global_vars={"age": "old"}, update_status=False)


def test_saving_leaves_out_the_state_of_a_run(editor):
    from mage_ai.data_preparation.models.constants import BlockStatus
    from mage_ai.data_preparation.models.pipeline import Pipeline

    pipeline = Pipeline.get("ingestion", repo_path=str(REPO_PATH))
    saved = pipeline.to_dict(include_extensions=True)
    pipeline.get_block("load_companies").status = BlockStatus.FAILED
    assert pipeline.to_dict(include_extensions=True) == saved == GRAPH.pipelines["ingestion"].metadata


class Names(BaseHTTPRequestHandler):
    """Answers with two records, or with a wrong one at /wrong."""

    def do_GET(self) -> None:
        body = json.dumps([{"id": 1, "name": "a"}, {"id": "x" if self.path == "/wrong" else 2, "name": "b"}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing to the terminal."""


@pytest.fixture
def names_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Names) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def from_template(template: str, project: Path):
    """Make a pipeline with a block from a template, as the menu of the editor does, and return the block."""
    from mage_ai.data_preparation.models.custom_templates.custom_block_template import CustomBlockTemplate
    from mage_ai.data_preparation.models.pipeline import Pipeline

    shutil.copytree(REPO_PATH / "custom_templates", project / "custom_templates")
    shutil.copy(REPO_PATH / "metadata.yaml", project)
    pipeline = Pipeline.create("from_template", repo_path=str(project))
    found = CustomBlockTemplate.load(str(project), template_uuid=template)
    block = found.create_block(f"my_{template}", pipeline)
    block.update_content(found.load_template_content())
    return Pipeline.get("from_template", repo_path=str(project)).get_block(f"my_{template}")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_block_made_from_a_template_runs(mage, tmp_path, names_url, monkeypatch, template):
    block = from_template(template, tmp_path)
    with instant_model() as model:
        for name, value in model.items():
            monkeypatch.setenv(name, value)
        (output, *_) = block.execute_block(global_vars={"api_url": names_url})["output"]
    expected = {
        "ai_block": lambda: output["fun_fact"] == "7 is a prime number." and output["source"] == "model",
        "load_from_api": lambda: list(output["name"]) == ["a", "b"],
        "start_pipeline_once": lambda: output["skipped"] == "not inside a pipeline run",
    }
    assert expected[template]()


def test_the_template_of_an_api_refuses_a_wrong_record(mage, tmp_path, names_url):
    with pytest.raises(InvalidInputError, match=r"1\.id"):
        from_template("load_from_api", tmp_path).execute_block(global_vars={"api_url": f"{names_url}/wrong"})
