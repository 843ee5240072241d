from pathlib import Path

import pytest

from mage_server.security.confinement import is_confined, is_secret_file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / ".state").mkdir(parents=True)
    (project / "out").symlink_to("/etc")
    (project / "state_link").symlink_to(project / ".state")
    return project.resolve()


@pytest.mark.parametrize("name", ["a.py", "custom/a.py", ".stateless", "new/folder/a.py", "."])
def test_inside(project: Path, name: str):
    assert is_confined(project / name, project, [project / ".state"])


@pytest.mark.parametrize(
    "name", [".state", ".state/x", "out/passwd", "state_link/x", "../x", "a\0b", "/etc/passwd", "../project2"]
)
def test_outside(project: Path, name: str):
    assert not is_confined(project / name, project, [project / ".state"])


def test_a_relative_path_is_one_of_the_current_folder(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project.parent)
    assert is_confined("project/a.py", project, [])
    assert not is_confined("a.py", project, [])


def test_files_with_settings():
    assert is_secret_file("/p/.env")
    assert is_secret_file(".env.local")
    assert not is_secret_file(".env.example")
    assert not is_secret_file("environment.py")
