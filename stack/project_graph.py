"""The graph of the project, read from the pipelines' YAML and from the Python source of their blocks."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER_OF_TYPE = {
    "data_loader": "data_loaders",
    "transformer": "transformers",
    "data_exporter": "data_exporters",
    "sensor": "sensors",
    "custom": "custom",
    "conditional": "conditionals",
}
# Blocks of the editor alone: a run leaves them out.
FOLDER_OF_SHOWN_TYPE = {"chart": "charts", "markdown": "markdowns"}
SUFFIX_OF_LANGUAGE = {"python": ".py", "sql": ".sql", "markdown": ".md"}
STARTS, WAITS_FOR, DATA_PRODUCT = "starts", "waits for", "data product"


class Edge(NamedTuple):
    """An arrow of the graph, from what runs first to what runs later.

    Attributes:
        source: Pipeline or data product.
        target: Pipeline or data product.
        kind: `STARTS`, `WAITS_FOR` (the target waits for the source) or `DATA_PRODUCT` (written or read).
        variables: Names of the runtime variables that the source passes to the target.
    """

    source: str
    target: str
    kind: str
    variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """One pipeline of a Mage project."""

    project: Path
    uuid: str

    @property
    def folder(self) -> Path:
        """Folder of its YAML files."""
        return self.project / "pipelines" / self.uuid

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Content of metadata.yaml."""
        data: dict[str, Any] = yaml.safe_load((self.folder / "metadata.yaml").read_text(encoding="utf-8"))
        return data

    @cached_property
    def triggers(self) -> list[dict[str, Any]]:
        """Triggers in triggers.yaml."""
        text = (self.folder / "triggers.yaml").read_text(encoding="utf-8")
        triggers: list[dict[str, Any]] = yaml.safe_load(text)["triggers"]
        return triggers

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """Blocks that a run executes, without the conditions."""
        return [block for block in self.metadata["blocks"] if block["type"] in {*FOLDER_OF_TYPE, "global_data_product"}]

    @property
    def all_blocks(self) -> list[dict[str, Any]]:
        """Blocks that a run executes, and conditions."""
        return [*self.blocks, *self.metadata["conditionals"]]

    @property
    def shown_blocks(self) -> list[dict[str, Any]]:
        """Texts and charts, which only the editor shows."""
        texts = [block for block in self.metadata["blocks"] if block["type"] in FOLDER_OF_SHOWN_TYPE]
        return texts + list(self.metadata["widgets"])

    @property
    def schedule(self) -> str | None:
        """Name of its time trigger in words, such as "every 15 minutes", if it has one."""
        names = (trigger["name"] for trigger in self.triggers if trigger["schedule_type"] == "time")
        return next((name.replace("_", " ") for name in names), None)

    @property
    def data_products(self) -> set[str]:
        """Global data products that it reads."""
        return {
            block["configuration"]["global_data_product"]["uuid"]
            for block in self.blocks
            if block["type"] == "global_data_product"
        }

    @cached_property
    def starts(self) -> dict[str, tuple[str, ...]]:
        """Pipelines that its blocks start, with the names of the runtime variables passed to each."""
        return {_text(call.args[0]): _variables(call) for call in self._calls("start_next")}

    @cached_property
    def waits_for(self) -> set[str]:
        """Pipelines that its sensors wait for."""
        return {_text(call.args[0]) for call in self._calls("recent_runs")}

    def block_file(self, block: dict[str, Any]) -> Path | None:
        """Return the source file of a block, None for a global data product."""
        if block["type"] == "global_data_product":
            return None
        folder = self.project / (FOLDER_OF_TYPE | FOLDER_OF_SHOWN_TYPE)[block["type"]]
        return folder / f"{block['uuid']}{SUFFIX_OF_LANGUAGE[block['language']]}"

    def _calls(self, function: str) -> Iterator[ast.Call]:
        """Yield the calls of a function in the Python blocks."""
        for block in self.all_blocks:
            path = self.block_file(block)
            if path is not None and path.suffix == ".py":
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
                        yield node


@dataclass(frozen=True)
class ProjectGraph:
    """The pipelines and global data products of a project, by name, and how they depend on each other."""

    pipelines: dict[str, Pipeline]
    data_products: dict[str, dict[str, Any]]

    @cached_property
    def edges(self) -> list[Edge]:
        """All edges between pipelines and data products."""
        edges = [Edge(product["object_uuid"], name, DATA_PRODUCT) for name, product in self.data_products.items()]
        for name, pipeline in self.pipelines.items():
            edges += [Edge(target, name, WAITS_FOR) for target in sorted(pipeline.waits_for)]
            edges += [Edge(name, target, STARTS, variables) for target, variables in sorted(pipeline.starts.items())]
            edges += [Edge(product, name, DATA_PRODUCT) for product in sorted(pipeline.data_products)]
        return edges

    @cached_property
    def order(self) -> list[str]:
        """Pipelines and data products, each after everything that it depends on.

        Raises:
            graphlib.CycleError: there is a cycle.
        """
        sorter: TopologicalSorter[str] = TopologicalSorter({name: () for name in self.pipelines})
        for edge in self.edges:
            sorter.add(edge.target, edge.source)
        return list(sorter.static_order())

    @property
    def scheduled(self) -> list[str]:
        """Pipelines with a schedule, each after those that it waits for."""
        return [name for name in self.order if name in self.pipelines and self.pipelines[name].schedule]

    def chain(self, first: str) -> list[str]:
        """Return a pipeline and all pipelines that its run starts, directly or through others."""
        found = [first]
        for name in found:
            found += [target for target in self.pipelines[name].starts if target not in found]
        return found


def read_graph(project: Path) -> ProjectGraph:
    """Read the graph of a Mage project."""
    folders = sorted(path.parent for path in project.glob("pipelines/*/metadata.yaml"))
    text = (project / "global_data_products.yaml").read_text(encoding="utf-8")
    return ProjectGraph({folder.name: Pipeline(project, folder.name) for folder in folders}, yaml.safe_load(text))


def _text(node: ast.expr) -> str:
    """Return the value of a string literal.

    Raises:
        ValueError: the pipeline's name is not written as a string literal, so the graph cannot be read.
    """
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        raise ValueError(f"Write the pipeline's name as a string literal, not {ast.unparse(node)}")
    return node.value


def _variables(call: ast.Call) -> tuple[str, ...]:
    """Return the keys of the dictionary that is the third argument of `start_next`."""
    given = call.args[2] if len(call.args) > 2 else None
    return tuple(_text(key) for key in given.keys if key) if isinstance(given, ast.Dict) else ()
