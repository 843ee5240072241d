"""Write the graph of the pipelines into README.md as Mermaid text, which GitHub renders: `python -m stack.graph`."""

import re
import sys

from stack.project_graph import STARTS, WAITS_FOR, Edge, ProjectGraph, read_graph
from workflows.common.settings import REPO_PATH

README = REPO_PATH / "README.md"
BEGIN, END = "<!-- pipeline graph: written by `make graph` -->", "<!-- end of pipeline graph -->"


def mermaid(graph: ProjectGraph) -> str:
    """Return the graph as a Mermaid flowchart, in the code fence that GitHub renders."""
    lines = ["```mermaid", "flowchart LR"]
    for name in graph.order:
        if name in graph.data_products:
            lines.append(f'    {name}[("{name}<br>global data product")]')
        else:
            lines.append(f'    {name}["{"<br>".join(filter(None, (name, graph.pipelines[name].schedule)))}"]')
    for edge in sorted(graph.edges, key=lambda edge: graph.order.index(edge.source)):
        lines.append(f"    {edge.source} {_mermaid_arrow(edge, graph)} {edge.target}")
    return "\n".join([*lines, "```"])


def _mermaid_arrow(edge: Edge, graph: ProjectGraph) -> str:
    if edge.kind == STARTS:
        return f'-->|"{", passes ".join(("starts", *edge.variables))}"|'
    if edge.kind == WAITS_FOR:
        return '-.->|"is awaited by"|'
    return f'==>|"{"updates" if edge.target in graph.data_products else "is read by"}"|'


def with_mermaid(readme: str, graph: ProjectGraph) -> str:
    """Return the text of README.md with the Mermaid flowchart between the two comments replaced.

    Raises:
        ValueError: the comments are not there.
    """
    section = f"{BEGIN}\n{mermaid(graph)}\n{END}"
    text, count = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: section, readme, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"README.md needs the lines {BEGIN!r} and {END!r} once each; found {count} pairs")
    return text


if __name__ == "__main__":
    README.write_text(with_mermaid(README.read_text(encoding="utf-8"), read_graph(REPO_PATH)), encoding="utf-8")
    sys.stdout.write(f"Written: the graph in {README.name}\n")
