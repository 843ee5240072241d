"""The graph of the project, read from the pipelines' own YAML and from the blocks' own calls."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

FOLDER_OF_TYPE = {
    "data_loader": "data_loaders",
    "transformer": "transformers",
    "data_exporter": "data_exporters",
    "sensor": "sensors",
    "custom": "custom",
    "conditional": "conditionals",
}
SUFFIX_OF_LANGUAGE = {"python": ".py", "sql": ".sql"}


@dataclass(frozen=True)
class Pipeline:
    """One pipeline of a Mage project."""

    project: Path
    uuid: str

    @property
    def folder(self) -> Path:
        """Where its YAML is."""
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
        """Blocks without the conditions."""
        return list(self.metadata["blocks"])

    @property
    def all_blocks(self) -> list[dict[str, Any]]:
        """Blocks and conditions."""
        return [*self.metadata["blocks"], *self.metadata["conditionals"]]

    @property
    def schedule(self) -> str | None:
        """Interval of its time trigger, if it has one."""
        return next((item["schedule_interval"] for item in self.triggers if item["schedule_type"] == "time"), None)

    @property
    def data_products(self) -> set[str]:
        """Global data products that it reads."""
        return {
            block["configuration"]["global_data_product"]["uuid"]
            for block in self.blocks
            if block["type"] == "global_data_product"
        }

    @property
    def starts(self) -> set[str]:
        """Pipelines that its blocks start."""
        return self._named_in_sources(r'start_next\(\s*"(\w+)"')

    @property
    def waits_for(self) -> set[str]:
        """Pipelines that its sensors wait for."""
        return self._named_in_sources(r'recent_runs\(\s*"(\w+)"')

    def block_file(self, block: dict[str, Any]) -> Path | None:
        """Return the source of a block; a global data product has none."""
        if block["type"] == "global_data_product":
            return None
        folder = self.project / FOLDER_OF_TYPE[block["type"]]
        return folder / f"{block['uuid']}{SUFFIX_OF_LANGUAGE[block['language']]}"

    def _named_in_sources(self, pattern: str) -> set[str]:
        return {name for source in self._sources() for name in re.findall(pattern, source)}

    def _sources(self) -> Iterator[str]:
        for block in self.all_blocks:
            path = self.block_file(block)
            if path is not None and path.suffix == ".py":
                yield path.read_text(encoding="utf-8")


def read_pipelines(project: Path) -> dict[str, Pipeline]:
    """Return the pipelines of a project by name."""
    folders = sorted(path for path in (project / "pipelines").iterdir() if (path / "metadata.yaml").is_file())
    return {folder.name: Pipeline(project, folder.name) for folder in folders}


def read_data_products(project: Path) -> dict[str, dict[str, Any]]:
    """Return the global data products of a project by name."""
    text = (project / "global_data_products.yaml").read_text(encoding="utf-8")
    products: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return products
