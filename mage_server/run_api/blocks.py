"""Find a block, and execute it with the answer that Mage's own handler gives.

Plain Python blocks are executed here: their compiled code and their pipeline's YAML are kept until a file
changes. All others (SQL, R, sensors, dynamic blocks, callbacks, conditions, …) are executed by Mage.
"""

import contextlib
import copy
import inspect
import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from types import CodeType
from typing import Any

from mage_ai.data_preparation.models.block import Block
from mage_ai.data_preparation.models.block.dynamic.utils import (
    is_dynamic_block,
    is_dynamic_block_child,
    should_reduce_output,
)
from mage_ai.data_preparation.models.constants import BlockLanguage, BlockStatus, BlockType, PipelineType
from mage_ai.data_preparation.models.pipeline import Pipeline
from mage_ai.settings.server import MEMORY_MANAGER_V2
from mage_ai.shared.environments import get_env

from mage_server.run_api.capture import CallLog
from mage_server.run_api.http_errors import ApiError, invalid_variables, not_found
from mage_server.run_api.request import RunRequest
from workflows.common.errors import NotReadyError

# A file changed this shortly before it was read may change again without another time stamp.
TIMESTAMP_SECONDS = 1.0
_PLAIN_TYPES = (BlockType.CUSTOM, BlockType.DATA_EXPORTER, BlockType.DATA_LOADER, BlockType.TRANSFORMER)
_TAKEN = re.compile(r"multiple values for (?:keyword )?argument '(\w+)'")
# Mage rewrites metadata.yaml while upstream blocks run.
_running_upstream = threading.Lock()


class WatchedFile:
    """Bytes of a file, read again only when it has changed."""

    def __init__(self, path: Path):
        self.path = path
        self.content = b""
        self._stamp: tuple[int, int, int] | None = None
        self._is_settled = False

    def changed(self) -> bool:
        """Read the file again where needed, and say whether its bytes are others than before.

        Raises:
            FileNotFoundError: it is not there.
        """
        stat = os.stat(self.path)
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if stamp == self._stamp and self._is_settled:
            return False
        read_at = time.time()
        content = self.path.read_bytes()
        is_new = self._stamp is None or content != self.content
        self.content, self._stamp = content, stamp
        self._is_settled = read_at - stat.st_mtime > TIMESTAMP_SECONDS
        return is_new


@dataclass(frozen=True)
class PlainBlock:
    """A block that is executed here: `code` is executed anew for each call, so calls share no variables."""

    block: Block
    code: CodeType
    upstream: tuple[str, ...]

    def execute(self, variables: dict[str, Any], log: CallLog) -> list[Any]:
        """Execute as `Block.execute_block` does, without what does not change between calls.

        Raises:
            ApiError: a variable has the name of an input.
            Exception: whatever the block raises.
        """
        # Nothing from earlier runs reaches a single block: Mage gives an empty list for every upstream block.
        inputs: list[Any] = [[] for _ in self.upstream]
        functions: list[Any] = []
        preprocessors: list[Any] = []
        scope: dict[str, Any] = {
            "preprocesser": _collector(preprocessors),
            "test": _collector([]),
            self.block.type: _collector(functions),
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
        """The keyword arguments, as `Block.enrich_global_vars` makes them."""
        arguments = {"env": get_env(), "context": {}, **variables}
        return arguments | {
            "configuration": copy.deepcopy(self.block.configuration),
            "pipeline_uuid": self.block.pipeline_uuid,
            "block_uuid": self.block.uuid,
            "repo_path": self.block.pipeline.repo_path,
        }


def as_outputs(result: Any) -> list[Any]:
    """Return the outputs as Mage lists them: a tuple is several, None is none, all else is one."""
    if result is None:
        return []
    if isinstance(result, tuple):
        return list(result)
    return result if isinstance(result, list) else [result]


class Blocks:
    """The blocks of one Mage project.

    Args:
        repo_path: Its folder.
    """

    def __init__(self, repo_path: Path):
        self.repo_path = repo_path
        self._pipelines: dict[str, _CachedPipeline] = {}
        self._lock = threading.Lock()

    def has_pipeline(self, pipeline_uuid: str) -> bool:
        """Whether the project has this pipeline."""
        # Compared with the names that are there, so that no caller's text becomes part of a path.
        try:
            names = os.listdir(self.repo_path / "pipelines")
        except FileNotFoundError:
            return False
        return pipeline_uuid in names and (self.repo_path / "pipelines" / pipeline_uuid / "metadata.yaml").is_file()

    def find(self, pipeline_uuid: str, block_uuid: str) -> "FoundBlock":
        """Return a block as its files are now.

        Raises:
            ApiError: 404, no such pipeline or block.
        """
        with self._lock:
            cached = self._pipelines.get(pipeline_uuid)
            if cached is None:
                if not self.has_pipeline(pipeline_uuid):
                    raise not_found(f"There is no pipeline {pipeline_uuid!r}")
                cached = self._pipelines[pipeline_uuid] = _CachedPipeline(self.repo_path, pipeline_uuid)
            try:
                return cached.find(block_uuid)
            except FileNotFoundError:
                del self._pipelines[pipeline_uuid]
                raise not_found(f"There is no pipeline {pipeline_uuid!r}, or a file of it is missing") from None


@dataclass(frozen=True)
class FoundBlock:
    """A block as its files are now; `plain` is None where Mage executes it."""

    block: Block
    plain: PlainBlock | None

    def check_upstream(self) -> None:
        """Refuse as Mage does where a block above was never run.

        Raises:
            NotReadyError: names those blocks.
        """
        waiting = [block for block in self.block.upstream_blocks if block.status == BlockStatus.NOT_EXECUTED]
        if waiting and not all(block.type == BlockType.DBT for block in waiting):
            names = ", ".join(block.uuid for block in waiting)
            raise NotReadyError(
                f"Blocks above {self.block.uuid} have not been executed yet ({names}): "
                f"run pipeline {self.block.pipeline_uuid}"
            )

    def execute(self, request: RunRequest, log: CallLog, partition: str) -> list[Any]:
        """Execute and return the outputs.

        Raises:
            ApiError: a variable has the name of an input.
            NotReadyError: see `check_upstream`.
            Exception: whatever the block raises.
        """
        if self.plain is not None and not request.run_upstream_blocks:
            self.check_upstream()
            return self.plain.execute(request.variables, log)
        return _execute_by_mage(self.block, request, log, partition)

    def is_stored_by_mage(self, request: RunRequest) -> bool:
        """Whether `execute` itself keeps the outputs, where they are to be kept."""
        return self.plain is None or request.run_upstream_blocks


class _CachedPipeline:
    """A pipeline and the compiled code of its blocks, until a file changes."""

    def __init__(self, repo_path: Path, uuid: str):
        self._repo_path = repo_path
        self._uuid = uuid
        folder = repo_path / "pipelines" / uuid
        # The project's own settings decide on Spark, variables and logs.
        self._watched = [WatchedFile(folder / "metadata.yaml"), WatchedFile(repo_path / "metadata.yaml")]
        self._pipeline: Pipeline | None = None
        self._found: dict[str, FoundBlock] = {}
        self._sources: dict[str, WatchedFile] = {}
        self._is_plain: dict[str, bool] = {}

    def find(self, block_uuid: str) -> FoundBlock:
        has_changed = [file.changed() for file in self._watched]
        if self._pipeline is None or any(has_changed):
            self._pipeline = Pipeline.get(self._uuid, repo_path=str(self._repo_path))
            self._found, self._sources, self._is_plain = {}, {}, {}
        block = self._pipeline.blocks_by_uuid.get(block_uuid)
        if block is None:
            raise not_found(f"Pipeline {self._uuid!r} has no block {block_uuid!r}")
        if block_uuid not in self._is_plain:
            self._is_plain[block_uuid] = _is_plain(block)
        if not self._is_plain[block_uuid]:
            return FoundBlock(block, None)
        source = self._sources.get(block_uuid)
        if source is None:
            source = self._sources[block_uuid] = WatchedFile(Path(block.file_path))
        if source.changed() or block_uuid not in self._found:
            self._found.pop(block_uuid, None)
            code = compile(source.content, str(source.path), "exec", dont_inherit=True)
            plain = PlainBlock(block, code, tuple(block.upstream_block_uuids))
            self._found[block_uuid] = FoundBlock(block, plain)
        return self._found[block_uuid]


def _is_plain(block: Block) -> bool:
    """Whether executing the function is all that Mage would do."""
    pipeline = block.pipeline
    return (
        type(block) is Block
        and block.type in _PLAIN_TYPES
        and block.language == BlockLanguage.PYTHON
        and pipeline.type == PipelineType.PYTHON
        and not MEMORY_MANAGER_V2
        # Without this Mage finds no Spark session to add, wherever Spark is installed.
        and not pipeline.spark_config
        and not pipeline.repo_config.spark_config
        and not block.callback_block
        and not block.callback_blocks
        and not block.conditional_blocks
        and not block.replicated_block
        and not (block.configuration or {}).keys() - {"file_path", "file_source"}
        and not is_dynamic_block(block)
        and not is_dynamic_block_child(block)
        and not (block.write_settings and (block.write_settings.batch_settings or block.write_settings.chunks))
        and not block.is_data_integration()
        and all(_is_ordinary_input(upstream) for upstream in block.upstream_blocks)
    )


def _is_ordinary_input(block: Block) -> bool:
    """Whether Mage gives an empty list for this block: its outputs of earlier runs are not read."""
    return not (
        block.type in (BlockType.GLOBAL_DATA_PRODUCT, BlockType.DBT)
        or is_dynamic_block(block)
        or is_dynamic_block_child(block)
        or should_reduce_output(block)
        or block.is_data_integration()
    )


def _execute_by_mage(block: Block, request: RunRequest, log: CallLog, partition: str) -> list[Any]:
    # Blocks keep the state of their execution, so each call has its own.
    pipeline = Pipeline.get(block.pipeline_uuid, repo_path=str(block.pipeline.repo_path))
    for blocks in (pipeline.blocks_by_uuid, pipeline.callbacks_by_uuid, pipeline.conditionals_by_uuid):
        for each in blocks.values():
            each._redirect_streams = _leave_streams
    own = pipeline.blocks_by_uuid[block.uuid]
    if request.run_upstream_blocks:
        with _running_upstream:
            own.run_upstream_blocks(
                incomplete_only=request.incomplete_only, global_vars=copy.deepcopy(request.variables)
            )
    else:
        FoundBlock(own, None).check_upstream()
    try:
        output = own.execute_with_callback(
            execution_partition=partition,
            global_vars=copy.deepcopy(request.variables),
            logging_tags={"block_uuid": own.uuid, "pipeline_uuid": pipeline.uuid},
            logger=log.logger,
            override_outputs=False,
            store_variables=request.record and request.store_variables,
            update_status=False,
            verify_output=False,
        )
    except TypeError as error:
        name = _TAKEN.search(str(error))
        if name and name[1] in request.variables:
            raise _is_input([name[1]]) from error
        raise
    outputs: list[Any] = output["output"]
    return outputs


@contextlib.contextmanager
def _leave_streams(**_: Any) -> Any:
    """In place of Mage's redirection: the streams of the process know whose text it is."""
    yield None, None


def _collector(functions: list[Any]) -> Any:
    def decorate(function: Any) -> Any:
        functions.append(function)
        return function

    return decorate


def _call(function: Any, inputs: list[Any], arguments: dict[str, Any]) -> Any:
    parameters = list(inspect.signature(function).parameters.values())
    if not any(parameter.kind == Parameter.VAR_KEYWORD for parameter in parameters):
        return function(*inputs)
    taken = [
        parameter.name
        for parameter in parameters[: len(inputs)]
        if parameter.kind == Parameter.POSITIONAL_OR_KEYWORD and parameter.name in arguments
    ]
    if taken:
        raise _is_input(taken)
    return function(*inputs, **arguments)


def _is_input(names: Iterable[str]) -> ApiError:
    reason = "is the name of an input of the block"
    return invalid_variables("The variables were refused", {f"variables.{name}": reason for name in names})
