"""Draw the graph of the project: `pipeline_graph.png`, and the same as Mermaid text in README.md.

Run as `python -m stack.graph`.
"""

import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from stack.project_graph import DATA_PRODUCT, STARTS, WAITS_FOR, Edge, ProjectGraph, read_graph
from workflows.common.settings import REPO_PATH

PICTURE = REPO_PATH / "pipeline_graph.png"
README = REPO_PATH / "README.md"
BEGIN, END = "<!-- pipeline graph: written by `make graph` -->", "<!-- end of pipeline graph -->"
NO_SCHEDULE = "started by another pipeline"
COLUMN_WIDTH, BOX_WIDTH, LINE, GAP = 5.5, 4.6, 0.27, 0.75
COLORS = {
    "data_loader": "#2f6fb5",
    "transformer": "#7a4fb0",
    "data_exporter": "#b8860b",
    "sensor": "#b03a5b",
    "custom": "#3a7d44",
    "global_data_product": "#00796b",
}
STYLES: dict[str, dict[str, Any]] = {
    STARTS: {"color": "#b8860b", "linestyle": "-"},
    WAITS_FOR: {"color": "#b03a5b", "linestyle": ":"},
    DATA_PRODUCT: {"color": "#00796b", "linestyle": "--"},
}
Box = tuple[float, float, float]


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


def columns_of(graph: ProjectGraph) -> dict[str, int]:
    """Return the column of each node: the length of the longest path to it."""
    columns = dict.fromkeys([*graph.pipelines, *graph.data_products], 0)
    for name in graph.order:
        columns[name] = max((columns[edge.source] + 1 for edge in graph.edges if edge.target == name), default=0)
    return columns


def draw(graph: ProjectGraph, output: Path) -> None:
    """Draw the graph into a PNG file."""
    pipelines, products, edges = graph.pipelines, graph.data_products, graph.edges
    columns = columns_of(graph)
    heights = {uuid: LINE * (len(pipeline.blocks) + 2.2) for uuid, pipeline in pipelines.items()}
    heights |= dict.fromkeys(products, LINE * 2.6)
    boxes: dict[str, Box] = {}
    for column in range(max(columns.values()) + 1):
        members = sorted(
            (node for node in columns if columns[node] == column), key=lambda node: _rank(node, edges, boxes)
        )
        top = (sum(heights[node] for node in members) + GAP * (len(members) - 1)) / 2
        for node in members:
            boxes[node] = (column * COLUMN_WIDTH, top - heights[node], heights[node])
            top -= heights[node] + GAP
    figure, axes = plt.subplots(figsize=(3.6 * (max(columns.values()) + 1), 6.2))
    for source, target, kind, _ in edges:
        _draw_edge(axes, boxes[source], boxes[target], kind, columns[target] - columns[source])
    for uuid, pipeline in pipelines.items():
        lines = [(block["uuid"], COLORS[block["type"]]) for block in pipeline.blocks]
        _draw_box(axes, boxes[uuid], uuid, pipeline.schedule or NO_SCHEDULE, lines)
    for name, product in products.items():
        stale = f"stale after {product['outdated_after']['seconds']:,} s"
        _draw_box(axes, boxes[name], name, f"global data product, {stale}", [])
    _finish(axes, boxes)
    figure.savefig(output, dpi=110, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    plt.close(figure)


def _draw_box(axes: Axes, box: Box, title: str, subtitle: str, lines: list[tuple[str, str]]) -> None:
    left, bottom, height = box
    patch = FancyBboxPatch(
        (left, bottom), BOX_WIDTH, height, boxstyle="round,pad=0.06", facecolor="#fafafa", edgecolor="#444444"
    )
    axes.add_patch(patch)
    top = bottom + height
    axes.text(left + 0.08, top - LINE * 0.7, title, fontsize=10, weight="bold", va="center")
    axes.text(left + 0.08, top - LINE * 1.6, subtitle, fontsize=7.5, color="#555555", va="center")
    for index, (line, color) in enumerate(lines):
        axes.text(left + 0.16, top - LINE * (2.6 + index), line, fontsize=8, color=color, va="center")


def _rank(node: str, edges: list[Edge], boxes: dict[str, Box]) -> tuple[float, bool]:
    """Sort key of a column, from the top: the mean height of the nodes with an edge to this one, so few edges cross."""
    heights = [boxes[edge.source][1] + boxes[edge.source][2] / 2 for edge in edges if edge.target == node]
    return (-sum(heights) / len(heights) if heights else 0, any(edge.source == node for edge in edges))


def _draw_edge(axes: Axes, source: Box, target: Box, kind: str, columns: int) -> None:
    start = (source[0] + BOX_WIDTH + 0.08, source[1] + source[2] / 2)
    end = (target[0] - 0.08, target[1] + target[2] / 2)
    bend = 0.06
    if columns > 1 and kind == "data product":
        # Draw it below the boxes in between.
        start = (source[0] + BOX_WIDTH / 2, source[1] - 0.08)
        end = (target[0] + BOX_WIDTH / 2, target[1] - 0.08)
        bend = 0.45
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "linewidth": 1.5, **STYLES[kind]}
    arrow = FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", **style)
    axes.add_patch(arrow)


def _finish(axes: Axes, boxes: dict[str, Box]) -> None:
    for kind, style in STYLES.items():
        axes.plot([], [], label=kind, linewidth=1.5, **style)
    for block_type, color in COLORS.items():
        axes.plot([], [], "s", color=color, label=block_type.replace("_", " "), markersize=5)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.09), ncol=9, fontsize=8, frameon=False)
    axes.set_xlim(-0.2, max(left for left, _, _ in boxes.values()) + BOX_WIDTH + 0.2)
    bottoms, tops = zip(*((bottom, bottom + height) for _, bottom, height in boxes.values()), strict=True)
    axes.set_ylim(min(bottoms) - 1.4, max(tops) + 0.2)
    axes.axis("off")


if __name__ == "__main__":
    project_graph = read_graph(REPO_PATH)
    draw(project_graph, PICTURE)
    README.write_text(with_mermaid(README.read_text(encoding="utf-8"), project_graph), encoding="utf-8")
    sys.stdout.write(f"Written: {PICTURE.name} and the graph in {README.name}\n")
