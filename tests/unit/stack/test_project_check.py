"""Mistakes that people make in the project's files are found before anything starts."""

import shutil
from pathlib import Path

import pytest

from stack.mage_process import StackError
from stack.project_check import check_project
from workflows.common.settings import REPO_PATH


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy of what is checked."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pipelines", "data_loaders", "transformers", "prompts"):
        shutil.copytree(REPO_PATH / name, folder / name)
    for name in ("metadata.yaml", "io_config.yaml", "global_data_products.yaml"):
        shutil.copy(REPO_PATH / name, folder / name)
    return folder


@pytest.fixture
def project(repository, tmp_path) -> Path:
    shutil.copytree(repository, tmp_path / "project")
    return tmp_path / "project"


def mistakes(project: Path) -> list[str]:
    with pytest.raises(StackError, match="Nothing was started") as caught:
        check_project(project, project / ".env")
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_the_repository_has_none(project):
    check_project(project, project / ".env")
    check_project()


@pytest.mark.parametrize(
    ("file", "before", "after", "expected"),
    [
        (
            "pipelines/ingestion/metadata.yaml",
            "blocks:",
            "blocks: [",
            r"pipelines/ingestion/metadata.yaml, line ",
        ),
        (
            "pipelines/ingestion/metadata.yaml",
            "  upstream_blocks:\n  - load_companies",
            "  upstream_blocks:\n  - load_company",
            "block round_employee_count has the upstream block load_company, which the pipeline lacks",
        ),
        (
            "pipelines/ingestion/triggers.yaml",
            "'*/15 * * * *'",
            "'*/15 * * *'",
            "pipelines/ingestion/triggers.yaml, line 7: schedule_interval '*/15 * * *' of trigger every_15_minutes",
        ),
        (
            "pipelines/ingestion/triggers.yaml",
            "'*/15 * * * *'",
            "every quarter",
            "schedule_interval 'every quarter'",
        ),
        (
            "data_loaders/load_companies.py",
            "with_source(get_settings())",
            "with_source(get_settings()",
            "data_loaders/load_companies.py, line 14: '(' was never closed",
        ),
        ("global_data_products.yaml", "core_users:", "core_users: {", "global_data_products.yaml, line "),
        ("prompts/read_bio.yaml", "max_attempts:", "max_attempt:", "max_attempt"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_line(project, file, before, after, expected):
    path = project / file
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    found = mistakes(project)
    assert any(expected in line for line in found), found


def test_all_mistakes_are_listed_together(project):
    (project / "data_loaders" / "one.py").write_text("def one(:\n")
    (project / "transformers" / "two.py").write_text("if True\n")
    assert len(mistakes(project)) == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COMPANY_API_URL=http://x", ".env, line 2: COMPANY_API_URL is unknown; did you mean COMPANIES_API_URL?"),
        ("llm_modell=x", ".env, line 2: llm_modell is unknown; did you mean LLM_MODEL?"),
        ("a line of text", ".env, line 2: is no assignment NAME=value"),
    ],
)
def test_a_variable_that_is_misspelt_is_named(project, line, expected):
    (project / ".env").write_text(f"# mine\n{line}\n")
    assert mistakes(project) == [expected]


def test_variables_of_others_are_none_of_our_business(project):
    (project / ".env").write_text("AWS_ACCESS_KEY_ID=x\nMAGE_BASE_PATH=mage\nMY_OWN=1\nOPENAI_API_KEY_FILE=k\n")
    check_project(project, project / ".env")


@pytest.mark.parametrize("name", ["JAVA_HOME", "SPARK_HOME"])
def test_a_folder_of_the_shell_that_has_no_java_or_spark_is_named(project, monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, str(tmp_path))
    (mistake,) = mistakes(project)
    assert name in mistake
