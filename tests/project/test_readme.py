"""README.md: the graph of pipelines is up to date. Links to files work, in it and in all other documents."""

import re

from stack.graph import README, with_mermaid
from stack.project_graph import read_graph
from workflows.common.settings import REPO_PATH

TEXT = README.read_text(encoding="utf-8")


def test_the_graph_is_up_to_date():
    """After a change of a pipeline: `make graph`."""
    assert with_mermaid(TEXT, read_graph(REPO_PATH)) == TEXT


def test_every_link_to_a_file_leads_somewhere(tracked_files):
    links = [
        (path, link)
        for path in tracked_files
        if path.suffix == ".md"
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    ]
    assert len(links) > 50
    assert [(path, link) for path, link in links if not (path.parent / link).exists()] == []
