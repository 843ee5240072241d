"""Execute plain Python blocks from compiled code, with the same result as Mage's own executor."""

import copy
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from inspect import Parameter
from types import CodeType
from typing import Any

from mage_ai.data_preparation.models.block import Block
from mage_ai.data_preparation.models.block.dynamic.utils import (
    is_dynamic_block,
    is_dynamic_block_child,
    should_reduce_output,
)
from mage_ai.data_preparation.models.constants import BlockLanguage, BlockType, PipelineType
from mage_ai.settings.server import MEMORY_MANAGER_V2
from mage_ai.shared.environments import get_env

from mage_server.run_api.capture import CallLog
from mage_server.run_api.http_errors import ApiError, invalid_variables
from mage_server.run_api.permission import CONFIGURATION_KEY

_PLAIN_TYPES = (BlockType.CUSTOM, BlockType.DATA_EXPORTER, BlockType.DATA_LOADER, BlockType.TRANSFORMER)


@dataclass(frozen=True)
class CompiledBlock:
    """A plain Python block. Each call executes the module's `code` again, so calls share no variables."""

    block: Block
    code: CodeType
    upstream: tuple[str, ...]

    def execute(self, variables: dict[str, Any], log: CallLog) -> list[Any]:
        """Execute the block as `Block.execute_block` does, without the work that is the same for every call.

        Raises:
            ApiError: 422, a variable has the name of one of the block's inputs.
            Exception: whatever the block raises.
        """
        # A block that is run alone reads no outputs of earlier runs: Mage passes an empty list per upstream block.
        inputs: list[Any] = [[] for _ in self.upstream]
        functions: list[Any] = []
        preprocessors: list[Any] = []
        scope: dict[str, Any] = {
            "preprocesser": _collecting_decorator(preprocessors),
            "test": _collecting_decorator([]),
            self.block.type: _collecting_decorator(functions),
        }
        for number, (name, value) in enumerate(zip(self.upstream, inputs, strict=True), 1):
            scope |= {name: value, f"df_{number}": value}
        exec(self.code, scope)
        arguments = self._arguments(variables)
        for function in preprocessors:
            _call(function, inputs, arguments)
        function = self.block._validate_execution(functions, inputs)
        arguments["logger"] = log.logger
        return as_outputs(_call(function, inputs, arguments))

    def _arguments(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments that `Block.enrich_global_vars` makes."""
        arguments = {"env": get_env(), "context": {}, **variables}
        return arguments | {
            "configuration": copy.deepcopy(self.block.configuration),
            "pipeline_uuid": self.block.pipeline_uuid,
            "block_uuid": self.block.uuid,
            "repo_path": self.block.pipeline.repo_path,
        }


def as_outputs(result: Any) -> list[Any]:
    """Return a block's result as Mage's list of outputs: None gives no output, a tuple several, other values one."""
    if result is None:
        return []
    if isinstance(result, tuple):
        return list(result)
    return result if isinstance(result, list) else [result]


def variable_is_input(names: Iterable[str]) -> ApiError:
    """Return the error for variables that have the name of an input."""
    reason = "is the name of an input of the block"
    return invalid_variables("Variables are invalid", {f"variables.{name}": reason for name in names})


def is_plain_python(block: Block) -> bool:
    """Whether Mage would only execute the block's function, so that `CompiledBlock` gives the same result."""
    pipeline = block.pipeline
    return (
        type(block) is Block
        and block.type in _PLAIN_TYPES
        and block.language == BlockLanguage.PYTHON
        and pipeline.type == PipelineType.PYTHON
        and not MEMORY_MANAGER_V2
        # With a Spark configuration, Mage passes a Spark session to the block.
        and not pipeline.spark_config
        and not pipeline.repo_config.spark_config
        and not block.callback_block
        and not block.callback_blocks
        and not block.conditional_blocks
        and not block.replicated_block
        and not (block.configuration or {}).keys() - {"file_path", "file_source", CONFIGURATION_KEY}
        and not is_dynamic_block(block)
        and not is_dynamic_block_child(block)
        and not (block.write_settings and (block.write_settings.batch_settings or block.write_settings.chunks))
        and not block.is_data_integration()
        and all(_is_empty_input(upstream) for upstream in block.upstream_blocks)
    )


def _is_empty_input(block: Block) -> bool:
    """Whether Mage passes an empty list for this upstream block."""
    return not (
        block.type in (BlockType.GLOBAL_DATA_PRODUCT, BlockType.DBT)
        or is_dynamic_block(block)
        or is_dynamic_block_child(block)
        or should_reduce_output(block)
        or block.is_data_integration()
    )


def _collecting_decorator(functions: list[Any]) -> Any:
    """Return a decorator that adds the decorated function to a list."""

    def decorate(function: Any) -> Any:
        functions.append(function)
        return function

    return decorate


def _call(function: Any, inputs: list[Any], arguments: dict[str, Any]) -> Any:
    parameters = list(inspect.signature(function).parameters.values())
    if not any(parameter.kind == Parameter.VAR_KEYWORD for parameter in parameters):
        return function(*inputs)
    conflicts = [
        parameter.name
        for parameter in parameters[: len(inputs)]
        if parameter.kind == Parameter.POSITIONAL_OR_KEYWORD and parameter.name in arguments
    ]
    if conflicts:
        raise variable_is_input(conflicts)
    return function(*inputs, **arguments)
