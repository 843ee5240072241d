import pytest

from workflows.llm_inference.framework import build_framework


@pytest.fixture(scope="session")
def frameworks(titanic, scripted, tmp_path_factory):
    """A folder with the framework that code makes of the bundled passengers."""
    folder = tmp_path_factory.mktemp("frameworks")
    build_framework(titanic, folder, scripted("", ""))
    return folder
