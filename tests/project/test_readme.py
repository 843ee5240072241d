"""README.md: the graph of pipelines is up to date, and links to files work."""

import re

from stack.graph import README, with_mermaid
from stack.project_graph import read_graph
from workflows.common.settings import REPO_PATH

TEXT = README.read_text(encoding="utf-8")


def test_the_graph_is_up_to_date():
    """After a change of a pipeline: `make graph`."""
    assert with_mermaid(TEXT, read_graph(REPO_PATH)) == TEXT


def test_every_link_to_a_file_leads_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert len(links) > 20
    assert [link for link in links if not (REPO_PATH / link).exists()] == []
