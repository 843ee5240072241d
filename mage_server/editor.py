"""What Mage's editor shows, offers for download and saves: texts stay texts, and no path of this machine is saved.

As shipped, Mage's UI renders a cell of a table with a tag in it as HTML, scripts included; a download passes on cells
that a spreadsheet runs as formulas; and saving a pipeline writes the folder of its variables into `metadata.yaml`.
"""

import csv
import functools
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

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
    from mage_ai.data_preparation.models.pipeline import Pipeline

    outputs.format_output_data = block.format_output_data = _with_texts(outputs.format_output_data)
    OutputResource.serialize_output = _with_texts(OutputResource.serialize_output)
    for name in ("", "_reduce_output", "_dynamic_child"):
        function = f"transform_output_for_display{name}"
        setattr(dynamic, function, _with_texts(getattr(dynamic, function)))
    Pipeline.to_dict_base = _without_machine_path(Pipeline.to_dict_base)
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
