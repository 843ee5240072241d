"""The layers of the code: which folder may import which. The list of folders in README.md lists the same."""

import ast
import re
from collections.abc import Iterator

import pytest

from stack.project_graph import FOLDER_OF_TYPE
from workflows.common.settings import REPO_PATH

MAGE = "Mage"
FOLDER = re.compile(r"`([\w/]+)/`")
# Lowest layer first. The folders of one layer do not import each other; "workflows" means each folder in it.
LAYERS: tuple[tuple[tuple[str, ...], set[str]], ...] = (
    (("workflows/common",), {MAGE}),
    (
        (
            "workflows/local_llm",
            "workflows/ingestion",
            "workflows/passengers",
            "workflows/sql_python_workflow",
            "workflows/spark_workflow",
        ),
        {"workflows/common"},
    ),
    (("workflows/ai_blocks",), {"workflows/common", "workflows/local_llm"}),
    (("workflows/dynamic_blocks_workflow",), {"workflows/common", "workflows/ai_blocks"}),
    (
        ("workflows/ml_training_and_inference", "workflows/llm_inference"),
        {"workflows/common", "workflows/ai_blocks", "workflows/passengers"},
    ),
    ((*FOLDER_OF_TYPE.values(), "charts", "custom_templates"), {"workflows", MAGE}),
    (("mage_server",), {"workflows", MAGE}),
    (("stack",), {"workflows", "mage_server"}),
    (("evals", "benchmarks"), {"workflows", "mage_server", "stack"}),
    (("tests",), {"workflows", "mage_server", "stack", "evals", "benchmarks", MAGE}),
)
MAY_IMPORT = {folder: allowed for folders, allowed in LAYERS for folder in folders}


def covers(allowed: set[str], folder: str) -> bool:
    return folder in allowed or folder.partition("/")[0] in allowed


def imported_modules(source: str, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the full names of what a module of a package imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            module = [*parents, *([node.module] if node.module else [])]
            yield from (".".join([*module, name.name]) for name in node.names)


def folder_of(module: str) -> str | None:
    """Return the folder of a module of this project, `MAGE`, or None for a library."""
    first, *rest = module.split(".")
    if first == "mage_ai":
        return MAGE
    folder = f"workflows/{rest[0]}" if first == "workflows" else first
    return folder if folder in MAY_IMPORT else None


def imports_of(folder: str) -> dict[str, set[str]]:
    """Return which other folders each file of a folder imports."""
    imports = {}
    for path in (REPO_PATH / folder).rglob("*.py"):
        place = path.relative_to(REPO_PATH)
        modules = imported_modules(path.read_text(encoding="utf-8"), place.parent.parts)
        imports[place.as_posix()] = {other for other in map(folder_of, modules) if other not in (None, folder)}
    return imports


def folder_list() -> dict[str, str]:
    """Return what README.md says each folder imports, in the order of its list."""
    readme = (REPO_PATH / "README.md").read_text(encoding="utf-8")
    items = re.findall(r"^- ((?:`[\w/]+/` ?)+): (.*(?:\n  .*)*)", readme, re.MULTILINE)
    return {folder: text.partition("Imports:")[2] for folders, text in items for folder in FOLDER.findall(folders)}


def test_a_layer_may_import_only_from_lower_layers():
    lower: set[str] = {MAGE}
    for folders, allowed in LAYERS:
        assert allowed <= lower | {folder.split("/")[0] for folder in lower}
        assert not lower & set(folders)
        lower |= set(folders)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder):
    for path, imported in imports_of(folder).items():
        forbidden = {other for other in imported if not covers(MAY_IMPORT[folder], other)}
        assert not forbidden, f"{path} imports {sorted(forbidden)}"


def test_every_python_file_is_in_a_layer(tracked_files):
    names = [path.relative_to(REPO_PATH).as_posix() for path in tracked_files if path.suffix == ".py"]
    assert [name for name in names if not name.startswith(tuple(f"{folder}/" for folder in MAY_IMPORT))] == [
        "workflows/__init__.py"
    ]


def test_only_one_module_of_workflows_imports_mage():
    importers = [path for path, imported in imports_of("workflows").items() if MAGE in imported]
    assert importers == ["workflows/common/mage.py"]


def test_imports_are_found_in_every_form():
    source = "import stack.demo\nfrom workflows import spark_workflow\ndef f():\n    from mage_ai.io import config\n"
    source += "from . import near\nfrom ..common import far\n"
    found = sorted(imported_modules(source, ("workflows", "ml_training_and_inference")))
    assert found == [
        "mage_ai.io.config",
        "stack.demo",
        "workflows.common.far",
        "workflows.ml_training_and_inference.near",
        "workflows.spark_workflow",
    ]
    folders = [MAGE, "stack", "workflows/common", "workflows/ml_training_and_inference", "workflows/spark_workflow"]
    assert [folder_of(module) for module in found] == folders
    assert folder_of("yaml.nodes") is None


def test_the_readme_lists_the_same_layers():
    found = {
        folder: {*FOLDER.findall(imports), *([MAGE] if MAGE in imports else [])}
        for folder, imports in folder_list().items()
        if imports
    }
    assert found == MAY_IMPORT
    assert list(found) == list(MAY_IMPORT)


def test_the_readme_lists_every_folder(tracked_files):
    names = {path.relative_to(REPO_PATH).parts for path in tracked_files}
    folders = {name[0] for name in names if len(name) > 1 and not name[0].startswith(".")} - {"workflows"}
    folders |= {"/".join(name[:2]) for name in names if name[0] == "workflows" and len(name) > 2}
    assert set(folder_list()) == folders
