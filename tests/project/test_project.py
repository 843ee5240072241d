"""The project's own graph, tested as code: what the YAML says, what the files are, and that both agree."""

import ast
import re
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from stack.env_example import env_example
from stack.graph import edges_of
from stack.project_graph import FOLDER_OF_TYPE, read_data_products, read_pipelines
from workflows.common.settings import REPO_PATH

PIPELINES = (
    "ingestion",
    "sql_python_workflow",
    "dynamic_blocks_workflow",
    "spark_workflow",
    "ml_training_and_inference",
    "llm_inference",
)
DECORATOR_OF_TYPE = {kind: kind for kind in FOLDER_OF_TYPE} | {"conditional": "condition"}
FOUND = read_pipelines(REPO_PATH)
LONGEST_BLOCK_FILE = 45


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO_PATH, capture_output=True, text=True, check=True)
    return [REPO_PATH / name for name in listed.stdout.split("\0") if name and (REPO_PATH / name).is_file()]


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
        assert (REPO_PATH / "pipelines" / pipeline / "README.md").read_text(encoding="utf-8").strip()

    def test_every_block_has_its_file(self, pipeline):
        for block in FOUND[pipeline].all_blocks:
            path = FOUND[pipeline].block_file(block)
            assert path is None or path.is_file(), f"{block['uuid']}: {path} is missing"

    def test_edges_agree_both_ways(self, pipeline):
        by_uuid = {block["uuid"]: block for block in FOUND[pipeline].blocks}
        assert len(by_uuid) == len(FOUND[pipeline].blocks)
        for uuid, block in by_uuid.items():
            for upstream in block["upstream_blocks"]:
                assert uuid in by_uuid[upstream]["downstream_blocks"], f"{upstream} does not name {uuid}"
            for downstream in block["downstream_blocks"]:
                assert uuid in by_uuid[downstream]["upstream_blocks"], f"{downstream} does not name {uuid}"
        for conditional in FOUND[pipeline].metadata["conditionals"]:
            assert set(conditional["upstream_blocks"]) <= set(by_uuid)

    def test_it_has_no_cycle(self, pipeline):
        waiting = {block["uuid"]: set(block["upstream_blocks"]) for block in FOUND[pipeline].blocks}
        while waiting:
            free = {uuid for uuid, upstream in waiting.items() if not upstream & set(waiting)}
            assert free, f"a cycle among {sorted(waiting)}"
            waiting = {uuid: upstream for uuid, upstream in waiting.items() if uuid not in free}

    def test_blocks_can_be_called_alone(self, pipeline):
        """Open-source Mage refuses a single-block call below a block that was never executed."""
        assert {block["status"] for block in FOUND[pipeline].all_blocks} == {"executed"}

    def test_names_are_verb_and_object(self, pipeline):
        allowed = {"core_users", "online_inference", "will_i_survive", "has_items", "has_no_items"}
        for block in FOUND[pipeline].all_blocks:
            assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", block["uuid"]) or block["uuid"] in allowed

    def test_its_triggers_are_complete_active_and_hold_no_token(self, pipeline):
        names = [trigger["name"] for trigger in FOUND[pipeline].triggers]
        assert len(names) == len(set(names)) > 0
        for trigger in FOUND[pipeline].triggers:
            assert trigger["status"] == "active"
            assert "token" not in trigger
            assert trigger["schedule_type"] in ("api", "time")
            assert (trigger["schedule_interval"] is None) == (trigger["schedule_type"] == "api")
            # Text here would stop the synchronisation of all triggers, and a missing one makes Mage rewrite the file.
            assert isinstance(trigger["start_time"], datetime)
            assert isinstance(trigger["last_enabled_at"], datetime)
            assert isinstance(trigger["envs"], list)

    def test_no_session_of_spark_is_made_by_mage(self, pipeline):
        assert not FOUND[pipeline].metadata.get("spark_config")


def test_what_asks_the_language_model_is_retried_by_itself():
    """Mage retries a block run alone: one child of the fan-out, not its siblings."""
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
        "ingestion": set(),
        "sql_python_workflow": {"dynamic_blocks_workflow", "ml_training_and_inference"},
        "dynamic_blocks_workflow": {"spark_workflow"},
        "spark_workflow": set(),
        "ml_training_and_inference": {"llm_inference"},
        "llm_inference": set(),
    }


def test_what_is_started_from_code_has_the_trigger_for_it():
    for pipeline in FOUND.values():
        for target in pipeline.starts:
            named = {trigger["name"]: trigger["schedule_type"] for trigger in FOUND[target].triggers}
            assert named.get("called_from_code") == "api"


def test_no_cycle_through_code_triggers_sensors_and_data_products():
    """The way from a data product back to its source is none: a refresh starts nothing."""
    edges = edges_of(FOUND, read_data_products(REPO_PATH))
    waiting = {*FOUND, "core_users"}
    while waiting:
        held_up = {target for source, target, _ in edges if source in waiting}
        assert waiting - held_up, f"a cycle among {sorted(waiting)}"
        waiting &= held_up


def test_the_data_product_names_a_block_of_its_pipeline():
    product = read_data_products(REPO_PATH)["core_users"]
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


def test_only_one_module_of_workflows_imports_mage():
    importers = {
        path.name
        for path in (REPO_PATH / "workflows").rglob("*.py")
        if re.search(r"^\s*(from|import) mage_ai", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert importers == {"mage.py"}


def test_only_the_settings_read_the_environment():
    """Elsewhere nothing is read by name; handing variables to a program that is started is fine."""
    readers = {
        path.relative_to(REPO_PATH).as_posix()
        for folder in ("workflows", *FOLDER_OF_TYPE.values())
        for path in (REPO_PATH / folder).rglob("*.py")
        if re.search(r"getenv|environ(\.get\(\s*[\"']|\[[\"']\w+[\"']\](?!\s*=[^=]))", path.read_text(encoding="utf-8"))
    }
    assert readers == {"workflows/common/settings.py"}


def test_nothing_is_committed_that_must_not_be():
    forbidden = {
        "a token": re.compile(r"^\s*token:\s*[0-9a-f]{16,}", re.MULTILINE),
        "a key": re.compile(r"\bsk-[A-Za-z0-9]{16,}"),
        "a private key": re.compile("BEGIN (RSA |EC |OPENSSH )?PRIVATE" + " KEY"),
        "a home folder": re.compile(r"/(home|Users)/[a-z]\w*/"),
        "an index": re.compile(r"--(extra-)?index-url\s+http|files\.python" + "hosted"),
    }
    for path in tracked_files():
        assert path.suffix not in {".db", ".duckdb", ".sqlite", ".gguf", ".parquet", ".joblib"}, path
        assert path.name not in {"uv.lock", ".env"}, path
        if path.suffix in {".png", ".lock"}:
            continue
        text = path.read_text(encoding="utf-8")
        for name, pattern in forbidden.items():
            assert not pattern.search(text), f"{path} holds {name}"


def test_env_example_lists_every_variable_with_its_default():
    """After a change of the settings: `python -m stack.env_example`."""
    assert (REPO_PATH / ".env.example").read_text(encoding="utf-8") == env_example()
