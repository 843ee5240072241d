"""What Mage's editor shows, offers for download and saves: texts stay texts, and only what its user changed is saved.

As shipped, Mage's UI renders a cell of a table with a tag in it as HTML, scripts included; a download passes on cells
that a spreadsheet runs as formulas; saving a pipeline, or running a block, writes the folder of its variables and
whether its blocks have run into `metadata.yaml`; and a block without its inputs fails with whatever Python says.
"""

import csv
import functools
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from workflows.common.errors import InvalidInputError, NotReadyError, ServiceError
from workflows.common.html import SANDBOXED_FRAME

# What HTML takes for the beginning of a tag; "a < b" is none.
TAG = re.compile(r"<(?=[A-Za-z/!?])")
FORMULA = re.compile(r"[=+\-@\t\r\n]")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|-inf")


def install() -> None:
    """Change Mage's functions in this process: the server, the processes that it forks, or a kernel."""
    from mage_ai.api.resources import OutputResource
    from mage_ai.data_preparation.models import block
    from mage_ai.data_preparation.models.block import outputs
    from mage_ai.data_preparation.models.block.dynamic import utils as dynamic
    from mage_ai.data_preparation.models.block.global_data_product import GlobalDataProductBlock
    from mage_ai.data_preparation.models.constants import BlockStatus, BlockType
    from mage_ai.data_preparation.models.pipeline import Pipeline
    from mage_ai.server.utils import output_display

    outputs.format_output_data = block.format_output_data = _with_texts(outputs.format_output_data)
    OutputResource.serialize_output = _with_texts(OutputResource.serialize_output)
    for name in ("", "_reduce_output", "_dynamic_child"):
        function = f"transform_output_for_display{name}"
        setattr(dynamic, function, _with_texts(getattr(dynamic, function)))
    Pipeline.to_dict_base = _without_machine_path(Pipeline.to_dict_base)
    Pipeline.to_dict = _without_run_states(Pipeline.to_dict, BlockStatus.EXECUTED.value)
    block.Block.execute_with_callback = _naming_missing_inputs(block.Block.execute_with_callback, BlockType.SENSOR)
    GlobalDataProductBlock.get_outputs = _outputs_of_data_product
    # The name of the private method that a page of the editor calls.
    GlobalDataProductBlock._Block__get_outputs_async = _outputs_of_data_product_async
    output_display.add_execution_code = _with_own_source(output_display.add_execution_code)
    # A cell may be as long as a model card.
    csv.field_size_limit(sys.maxsize)


def as_text(value: Any) -> Any:
    """Return a cell as the UI can show it: no tag begins in it, unless it is a whole sandboxed frame."""
    if isinstance(value, str):
        return value if SANDBOXED_FRAME.fullmatch(value) else TAG.sub("&lt;", value)
    if isinstance(value, list | tuple):
        return [as_text(item) for item in value]
    return {as_text(key): as_text(item) for key, item in value.items()} if isinstance(value, dict) else value


def without_formulas(lines: Sequence[str]) -> list[str]:
    """Return the lines of a CSV, with an apostrophe before cells that a spreadsheet would run; numbers stay."""
    cells = csv.reader(io.StringIO("\n".join(lines), newline=""))
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(
        [f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell for cell in row] for row in cells
    )
    return written.getvalue().removesuffix("\n").split("\n")


def _with_texts(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def changed(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        # Some return the output, others the output and what kind it is.
        output = result[0] if isinstance(result, tuple) else result
        if isinstance(output, dict):
            for table in (output.get("sample_data"), output.get("data")):
                if isinstance(table, dict) and "rows" in table:
                    table["rows"] = as_text(table["rows"])
            if "table" in output:
                output["table"] = without_formulas(output["table"])
        return result

    return changed


def _without_machine_path(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    @functools.wraps(original)
    def to_dict_base(*args: Any, **kwargs: Any) -> dict[str, Any]:
        # Mage never reads it: `MAGE_DATA_DIR` or the project's metadata.yaml names the folder.
        return original(*args, **kwargs) | {"variables_dir": None}

    return to_dict_base


def _outputs_of_data_product(self: Any, execution_partition: str | None = None, **kwargs: Any) -> list[dict[str, Any]]:
    """Return the outputs of the blocks that made a global data product; as shipped, it is where they are."""
    from mage_ai.data_preparation.models.block.remote.models import RemoteBlock

    found = self.pipeline.get_block_variable(self.uuid, "output_0", partition=execution_partition)
    places = found.get("remote_blocks", []) if isinstance(found, dict) else []
    remote = [RemoteBlock.load(**place) for place in places]
    options = {name: value for name, value in kwargs.items() if name.startswith("sample")}
    return [
        output
        for one in remote
        for output in one.block.get_outputs(execution_partition=one.execution_partition, **options)
    ]


async def _outputs_of_data_product_async(self: Any, **_: Any) -> list[dict[str, Any]]:
    return _outputs_of_data_product(self)


def _with_own_source(original: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(original)
    def add_execution_code(pipeline: str, block: str, *args: Any, **kwargs: Any) -> str:
        # Mage runs the charts below a block after it, and does not say what is above them: they get no input, and lose
        # their source in `metadata.yaml`.
        widgets = (kwargs.get("pipeline_config") or {}).get("widgets") or []
        own = next((widget["upstream_blocks"] for widget in widgets if widget["uuid"] == block), None)
        kwargs["upstream_blocks"] = kwargs.get("upstream_blocks") or own
        return original(pipeline, block, *args, **kwargs)

    return add_execution_code


def _without_run_states(original: Callable[..., dict[str, Any]], status: str) -> Callable[..., dict[str, Any]]:
    @functools.wraps(original)
    def to_dict(*args: Any, **kwargs: Any) -> dict[str, Any]:
        content = original(*args, **kwargs)
        for kind in ("blocks", "callbacks", "conditionals", "widgets"):
            for block in content[kind]:
                # With another status, Mage refuses to run the blocks below.
                block.update(status=status, all_upstream_blocks_executed=True)
        return content

    return to_dict


def _naming_missing_inputs(original: Callable[..., Any], sensor: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def execute_with_callback(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        except (InvalidInputError, ServiceError):
            raise
        except Exception:
            # A sensor passes nothing on.
            above = [block for block in self.upstream_blocks if block.type != sensor]
            missing = [block.uuid for block in above if not block.output_variables()]
            if not missing:
                raise
            message = f"{self.uuid} has no input: run the blocks above first ({', '.join(missing)})"
            raise NotReadyError(message) from None

    return execute_with_callback
