"""Draw `pipeline_graph.png`: the pipelines, their triggers, code triggers and the data product.

Run as `python -m stack.graph`.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from stack.project_graph import Pipeline, read_data_products, read_pipelines
from workflows.common.settings import REPO_PATH

OUTPUT = REPO_PATH / "pipeline_graph.png"
COLUMN_WIDTH, BOX_WIDTH, LINE, GAP = 5.3, 4.1, 0.27, 0.75
COLORS = {
    "data_loader": "#2f6fb5",
    "transformer": "#7a4fb0",
    "data_exporter": "#b8860b",
    "sensor": "#b03a5b",
    "custom": "#3a7d44",
    "global_data_product": "#00796b",
}
STYLES: dict[str, dict[str, Any]] = {
    "starts": {"color": "#b8860b", "linestyle": "-"},
    "waits for": {"color": "#b03a5b", "linestyle": ":"},
    "data product": {"color": "#00796b", "linestyle": "--"},
}
Edge = tuple[str, str, str]
Box = tuple[float, float, float]


def edges_of(pipelines: dict[str, Pipeline], products: dict[str, dict]) -> list[Edge]:
    """Return `(from, to, kind)`: what starts, waits for, or feeds what; a data product is a node of its own."""
    edges: list[Edge] = []
    for pipeline in pipelines.values():
        edges += [(pipeline.uuid, target, "starts") for target in sorted(pipeline.starts)]
        edges += [(source, pipeline.uuid, "waits for") for source in sorted(pipeline.waits_for)]
        edges += [(product, pipeline.uuid, "data product") for product in sorted(pipeline.data_products)]
    return edges + [(product["object_uuid"], name, "data product") for name, product in products.items()]


def columns_of(nodes: list[str], edges: list[Edge]) -> dict[str, int]:
    """Return the column of each node: the length of the longest way to it."""
    columns = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for source, target, _kind in edges:
            columns[target] = max(columns[target], columns[source] + 1)
    return columns


def draw(project: Path, output: Path) -> None:
    """Draw the graph of a project into a PNG file."""
    pipelines, products = read_pipelines(project), read_data_products(project)
    edges = edges_of(pipelines, products)
    columns = columns_of([*pipelines, *products], edges)
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
    figure, axes = plt.subplots(figsize=(3.5 * (max(columns.values()) + 1), 6.2))
    for source, target, kind in edges:
        _draw_edge(axes, boxes[source], boxes[target], kind, columns[target] - columns[source])
    for uuid, pipeline in pipelines.items():
        schedule = f"schedule: {pipeline.schedule}" if pipeline.schedule else "started from code or over the API"
        lines = [(block["uuid"], COLORS[block["type"]]) for block in pipeline.blocks]
        _draw_box(axes, boxes[uuid], uuid, schedule, lines)
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
    """Order a column from the top by the height of what leads to its nodes, so that few edges cross."""
    heights = [boxes[source][1] + boxes[source][2] / 2 for source, target, _ in edges if target == node]
    return (-sum(heights) / len(heights) if heights else 0, any(source == node for source, _, _ in edges))


def _draw_edge(axes: Axes, source: Box, target: Box, kind: str, columns: int) -> None:
    start = (source[0] + BOX_WIDTH + 0.08, source[1] + source[2] / 2)
    end = (target[0] - 0.08, target[1] + target[2] / 2)
    bend = 0.06
    if columns > 1 and kind == "data product":
        # Below what stands in between.
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
    draw(REPO_PATH, OUTPUT)
    sys.stdout.write(f"Drawn: {OUTPUT.name}\n")
