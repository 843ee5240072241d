"""What is known of Mage Pro's loader: it knows these block types, and installs requirements.txt beside mage-ai."""

import ast
import contextlib
import sys
from importlib import metadata

from packaging.requirements import Requirement

from stack.project_graph import FOLDER_OF_TYPE, read_graph
from workflows.common.settings import REPO_PATH

# Documented for both. `ai` is Mage Pro's alone, and with one such block open-source Mage loads none of its pipeline.
BLOCK_TYPES = {*FOLDER_OF_TYPE, "global_data_product", "markdown", "callback", "extension", "scratchpad", "dbt"}
FOLDERS = ("workflows", *FOLDER_OF_TYPE.values())
OWN = {"workflows", "mage_ai"}


def installed_by(requirements: list[Requirement]) -> set[str]:
    """Return the names of the distributions that pip installs for requirements, as far as they are installed here."""
    found: set[tuple[str, str]] = set()
    while requirements:
        requirement = requirements.pop()
        name = requirement.name.lower().replace("_", "-")
        for extra in {"", *requirement.extras} - {extra for other, extra in found if other == name}:
            found.add((name, extra))
            with contextlib.suppress(metadata.PackageNotFoundError):
                needed = [Requirement(line) for line in metadata.requires(name) or []]
                requirements += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def test_no_block_is_of_a_type_that_only_one_of_both_knows():
    types = {block["type"] for pipeline in read_graph(REPO_PATH).pipelines.values() for block in pipeline.all_blocks}
    assert types <= BLOCK_TYPES


def test_language_models_are_configured_by_the_settings_alone():
    assert not (REPO_PATH / "ai_config.yaml").exists()
    assert "ai_config" not in (REPO_PATH / "metadata.yaml").read_text(encoding="utf-8")


def test_what_is_imported_is_in_requirements_txt_or_comes_with_mage():
    lines = (REPO_PATH / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    installed = installed_by([*wanted, Requirement("mage-ai")])
    of_module = metadata.packages_distributions()
    for path in (path for folder in FOLDERS for path in (REPO_PATH / folder).rglob("*.py")):
        # Imports inside functions are of what only the local environment has.
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for module in {name.partition(".")[0] for name in names} - OWN - sys.stdlib_module_names:
                distributions = {name.lower().replace("_", "-") for name in of_module.get(module, ())}
                assert distributions & installed, f"{path.relative_to(REPO_PATH)} imports {module}"
