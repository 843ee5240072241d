"""The project's YAML and block files: complete, consistent with each other, and as documented."""

import ast
import re
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from stack.env_example import env_example
from stack.project_graph import FOLDER_OF_TYPE, read_graph
from workflows.common.settings import REPO_PATH
from workflows.passengers.contract import ATTRIBUTE_NAMES

PIPELINES = (
    "ingestion",
    "sql_python_workflow",
    "dynamic_blocks_workflow",
    "spark_workflow",
    "ml_training_and_inference",
    "llm_inference",
)
DECORATOR_OF_TYPE = {kind: kind for kind in FOLDER_OF_TYPE} | {"conditional": "condition"}
GRAPH = read_graph(REPO_PATH)
FOUND = GRAPH.pipelines
LONGEST_BLOCK_FILE = 45


def block_files() -> list[Path]:
    return [path for folder in FOLDER_OF_TYPE.values() for path in (REPO_PATH / folder).iterdir() if path.is_file()]


def test_these_are_the_pipelines():
    assert {path.name for path in (REPO_PATH / "pipelines").iterdir() if path.is_dir()} == set(FOUND) == set(PIPELINES)


@pytest.mark.parametrize("pipeline", PIPELINES)
class TestPipeline:
    def test_it_is_named_like_its_folder_and_documented(self, pipeline):
        data = FOUND[pipeline].metadata
        assert data["uuid"] == data["name"] == pipeline
        assert data["type"] == "python"
        assert data["description"]
        readme = (REPO_PATH / "pipelines" / pipeline / "README.md").read_text(encoding="utf-8")
        run_book = readme.partition("\n## When it fails\n")[2].partition("\n## ")[0]
        assert len(re.findall(r"^\|.*\|.*\|$", run_book, re.MULTILINE)) > 4, "the head of the table and three cases"

    def test_every_block_has_its_file(self, pipeline):
        for block in FOUND[pipeline].all_blocks + FOUND[pipeline].shown_blocks:
            path = FOUND[pipeline].block_file(block)
            assert path is None or path.is_file(), f"{block['uuid']}: {path} is missing"

    def test_edges_agree_both_ways(self, pipeline):
        blocks = FOUND[pipeline].blocks + FOUND[pipeline].shown_blocks
        by_uuid = {block["uuid"]: block for block in blocks}
        assert len(by_uuid) == len(blocks)
        for uuid, block in by_uuid.items():
            for upstream in block["upstream_blocks"]:
                assert uuid in by_uuid[upstream]["downstream_blocks"], f"{upstream} does not name {uuid}"
            for downstream in block["downstream_blocks"]:
                assert uuid in by_uuid[downstream]["upstream_blocks"], f"{downstream} does not name {uuid}"
        for conditional in FOUND[pipeline].metadata["conditionals"]:
            assert set(conditional["upstream_blocks"]) <= set(by_uuid)

    def test_it_has_no_cycle(self, pipeline):
        TopologicalSorter({block["uuid"]: block["upstream_blocks"] for block in FOUND[pipeline].blocks}).prepare()

    def test_it_begins_with_a_text_about_it(self, pipeline):
        first = FOUND[pipeline].metadata["blocks"][0]
        assert (first["uuid"], first["type"]) == (f"about_{pipeline}", "markdown")
        assert len(FOUND[pipeline].metadata["tags"]) == 1

    def test_its_files_are_as_mage_writes_them(self, pipeline):
        """What a save in the UI writes is what is committed."""
        for path in FOUND[pipeline].folder.glob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            assert yaml.dump(yaml.safe_load(text), allow_unicode=path.name == "metadata.yaml") == text, path.name

    def test_its_forms_are_about_its_variables(self, pipeline):
        path = FOUND[pipeline].folder / "interactions.yaml"
        forms = yaml.safe_load(path.read_text(encoding="utf-8"))["blocks"] if path.is_file() else {}
        for block, interactions in forms.items():
            assert block in {one["uuid"] for one in FOUND[pipeline].blocks}
            for interaction in interactions:
                form = yaml.safe_load((REPO_PATH / "interactions" / interaction["uuid"]).read_text(encoding="utf-8"))
                assert set(form["variables"]) <= set(FOUND[pipeline].metadata["variables"])
                shown = {item["variable"] for row in form["layout"] for item in row}
                assert shown == set(form["variables"]) == set(form["inputs"])

    def test_blocks_can_be_called_alone(self, pipeline):
        """Open-source Mage refuses a single-block call below a block that was never executed."""
        assert {block["status"] for block in FOUND[pipeline].all_blocks} == {"executed"}

    def test_block_names_are_words_in_snake_case(self, pipeline):
        for block in FOUND[pipeline].all_blocks:
            assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", block["uuid"])

    def test_its_triggers_are_complete_active_and_hold_no_token(self, pipeline):
        names = [trigger["name"] for trigger in FOUND[pipeline].triggers]
        assert len(names) == len(set(names)) > 0
        for trigger in FOUND[pipeline].triggers:
            assert trigger["status"] == "active"
            assert not trigger["token"]
            assert trigger["schedule_type"] in ("api", "time")
            assert (trigger["schedule_interval"] is None) == (trigger["schedule_type"] == "api")
            # Text here would stop the synchronisation of all triggers, and a missing one makes Mage rewrite the file.
            assert isinstance(trigger["start_time"], datetime)
            assert isinstance(trigger["last_enabled_at"], datetime)
            assert isinstance(trigger["envs"], list)

    def test_mage_starts_no_spark_session(self, pipeline):
        assert not FOUND[pipeline].metadata.get("spark_config")


def test_blocks_that_call_the_language_model_are_retried():
    """Mage retries only the failed block run: one child of the fan-out, not its siblings."""
    asking = {"generate_fun_fact", "explain_prediction", "build_decision_framework", "will_i_survive"}
    blocks = [block for pipeline in FOUND.values() for block in pipeline.blocks]
    found = {block["uuid"]: block for block in blocks if block["uuid"] in asking}
    assert set(found) == asking
    for block in found.values():
        assert block["retry_config"]["retries"] >= 1


def test_schedules_are_the_documented_ones():
    found = {(pipeline, trigger["schedule_interval"]) for pipeline in PIPELINES for trigger in FOUND[pipeline].triggers}
    assert {("ingestion", "*/15 * * * *"), ("sql_python_workflow", "@hourly")} == {
        item for item in found if item[1] is not None
    }


def test_every_block_file_is_used():
    used = {FOUND[pipeline].block_file(block) for pipeline in PIPELINES for block in FOUND[pipeline].all_blocks}
    assert {path for path in block_files() if path.name != "__init__.py"} == used - {None}


@pytest.mark.parametrize("path", [path for path in block_files() if path.suffix == ".py"], ids=lambda path: path.stem)
def test_a_block_file_is_thin_and_keeps_mages_conventions(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= LONGEST_BLOCK_FILE
    tree = ast.parse(source)
    kind = next(kind for kind, folder in FOLDER_OF_TYPE.items() if folder == path.parent.name)
    decorator = DECORATOR_OF_TYPE[kind]
    assert f'if "{decorator}" not in globals():' in source
    (function,) = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(item, ast.Name) and item.id == decorator for item in node.decorator_list)
    ]
    assert function.name == path.stem
    assert function.args.vararg is not None
    assert function.args.kwarg is not None
    assert ast.get_docstring(function)


def test_pipelines_start_each_other_as_documented():
    assert {uuid: pipeline.starts for uuid, pipeline in FOUND.items()} == {
        "ingestion": {},
        "sql_python_workflow": {"dynamic_blocks_workflow": ("count",), "ml_training_and_inference": ()},
        "dynamic_blocks_workflow": {"spark_workflow": ("fun_facts",)},
        "spark_workflow": {},
        "ml_training_and_inference": {"llm_inference": ()},
        "llm_inference": {},
    }


def test_every_runtime_variable_has_one_default_in_the_run_dialog():
    needed = {
        "dynamic_blocks_workflow": {"count"},
        "spark_workflow": {"fun_facts"},
        "ml_training_and_inference": {*ATTRIBUTE_NAMES, "refresh"},
        "llm_inference": {"about_me", "refresh"},
    }
    for name, variables in needed.items():
        pipeline = FOUND[name]
        assert variables <= set(pipeline.metadata["variables"]), name
        assert all(not trigger["variables"] for trigger in pipeline.triggers), name


def test_a_pipeline_that_others_start_has_the_trigger_for_it():
    for pipeline in FOUND.values():
        for target in pipeline.starts:
            named = {trigger["name"]: trigger["schedule_type"] for trigger in FOUND[target].triggers}
            assert named.get("called_from_code") == "api"


def test_the_order_of_pipelines_follows_sensors_triggers_and_the_data_product():
    """A cycle raises CycleError; the refresh of a data product starts no pipeline, so it closes none."""
    assert set(GRAPH.order) == {*PIPELINES, "core_users"}
    for edge in GRAPH.edges:
        assert GRAPH.order.index(edge.source) < GRAPH.order.index(edge.target)
    assert GRAPH.scheduled == ["ingestion", "sql_python_workflow"]
    assert GRAPH.chain("ingestion") == ["ingestion"]
    assert set(GRAPH.chain("sql_python_workflow")) == set(PIPELINES) - {"ingestion"}
    assert {edge[:2] for edge in GRAPH.edges if edge.kind == "waits for"} == {("ingestion", "sql_python_workflow")}


def test_the_data_product_names_a_block_of_its_pipeline():
    product = GRAPH.data_products["core_users"]
    assert product["object_uuid"] == "sql_python_workflow"
    assert product["outdated_after"] == {"seconds": 86_400}
    assert "repo_path" not in product
    assert set(product["settings"]) <= {block["uuid"] for block in FOUND["sql_python_workflow"].blocks}


def test_consumers_of_the_data_product_refresh_it_in_one_place():
    for pipeline in PIPELINES:
        for block in FOUND[pipeline].all_blocks:
            if block["type"] == "global_data_product":
                assert block["configuration"]["global_data_product"]["uuid"] == "core_users"
                assert block["upstream_blocks"] == ["refresh_core_users"]


def test_mage_keeps_its_state_outside_and_sends_nothing():
    project = yaml.safe_load((REPO_PATH / "metadata.yaml").read_text(encoding="utf-8"))
    assert project["help_improve_mage"] is False
    assert project["project_uuid"]
    assert "variables_dir" not in project
    assert "spark_config" not in project


def test_only_the_settings_read_the_environment():
    """Other modules read no variable by name; they may pass variables to a program that they start."""
    readers = {
        path.relative_to(REPO_PATH).as_posix()
        for folder in ("workflows", *FOLDER_OF_TYPE.values())
        for path in (REPO_PATH / folder).rglob("*.py")
        if re.search(r"getenv|environ(\.get\(\s*[\"']|\[[\"']\w+[\"']\](?!\s*=[^=]))", path.read_text(encoding="utf-8"))
    }
    assert readers == {"workflows/common/settings.py"}


def test_nothing_is_committed_that_must_not_be(tracked_files):
    forbidden = {
        "a token": re.compile(r"^\s*token:\s*[0-9a-f]{16,}", re.MULTILINE),
        "a key": re.compile(r"\bsk-[A-Za-z0-9]{16,}"),
        "a private key": re.compile("BEGIN (RSA |EC |OPENSSH )?PRIVATE" + " KEY"),
        "a home folder": re.compile(r"/(home|Users)/[a-z]\w*/"),
        "an index": re.compile(r"--(extra-)?index-url\s+http|files\.python" + "hosted"),
    }
    for path in tracked_files:
        assert path.suffix not in {".db", ".duckdb", ".sqlite", ".gguf", ".parquet", ".joblib"}, path
        assert path.name not in {"uv.lock", ".env"}, path
        if path.suffix in {".png", ".lock"}:
            continue
        text = path.read_text(encoding="utf-8")
        for name, pattern in forbidden.items():
            assert not pattern.search(text), f"{path} contains {name}"


def test_env_example_lists_every_variable_with_its_default():
    """After a change of the settings: `python -m stack.env_example`."""
    assert (REPO_PATH / ".env.example").read_text(encoding="utf-8") == env_example()
