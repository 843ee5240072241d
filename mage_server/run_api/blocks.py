"""Find and execute a block, with the result that Mage's own handler would give.

Plain Python blocks are executed by `CompiledBlock`; their code and their pipeline's YAML are cached until a file
changes. All other blocks (SQL, R, sensors, dynamic blocks, blocks with callbacks or conditions) are executed by Mage.
"""

import contextlib
import copy
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mage_ai.data_preparation.models.block import Block
from mage_ai.data_preparation.models.constants import BlockStatus, BlockType
from mage_ai.data_preparation.models.pipeline import Pipeline

from mage_server.run_api.capture import CallLog
from mage_server.run_api.compiled_block import CompiledBlock, is_plain_python, variable_is_input
from mage_server.run_api.http_errors import not_found
from mage_server.run_api.request import RunRequest
from mage_server.run_api.watched_file import WatchedFile
from workflows.common.errors import NotReadyError

_DUPLICATE_ARGUMENT = re.compile(r"multiple values for (?:keyword )?argument '(\w+)'")
# Mage rewrites metadata.yaml while it runs upstream blocks.
_upstream_lock = threading.Lock()


class Blocks:
    """The blocks of one Mage project.

    Args:
        repo_path: Folder of the project.
        has_completed_run: Whether the pipeline with a name has ever completed.
    """

    def __init__(self, repo_path: Path, has_completed_run: Callable[[str], bool]):
        self.repo_path = repo_path
        self._has_completed_run = has_completed_run
        self._pipelines: dict[str, _CachedPipeline] = {}
        self._lock = threading.Lock()

    def has_pipeline(self, pipeline_uuid: str) -> bool:
        """Whether the project has this pipeline."""
        # Compare with the existing names, so that text from a caller never becomes part of a path.
        try:
            names = os.listdir(self.repo_path / "pipelines")
        except FileNotFoundError:
            return False
        return pipeline_uuid in names and (self.repo_path / "pipelines" / pipeline_uuid / "metadata.yaml").is_file()

    def find(self, pipeline_uuid: str, block_uuid: str) -> "FoundBlock":
        """Return a block as its files are now.

        Raises:
            ApiError: 404, the pipeline or the block does not exist.
        """
        with self._lock:
            cached = self._pipelines.get(pipeline_uuid)
            if cached is None:
                if not self.has_pipeline(pipeline_uuid):
                    raise not_found(f"There is no pipeline {pipeline_uuid!r}")
                cached = self._pipelines[pipeline_uuid] = _CachedPipeline(
                    self.repo_path, pipeline_uuid, self._has_completed_run
                )
            try:
                return cached.find(block_uuid)
            except FileNotFoundError:
                del self._pipelines[pipeline_uuid]
                raise not_found(f"There is no pipeline {pipeline_uuid!r}, or one of its files is missing") from None


@dataclass(frozen=True)
class FoundBlock:
    """A block as its files are now; `compiled` is None if Mage executes it."""

    block: Block
    compiled: CompiledBlock | None
    has_completed_run: Callable[[str], bool]

    def check_upstream(self) -> None:
        """Reject the call as Mage does if an upstream block has never been executed.

        Only an execution in the editor is noted in the pipeline's YAML, so that a run of the pipeline counts as well.

        Raises:
            NotReadyError: names these blocks.
        """
        waiting = [block for block in self.block.upstream_blocks if block.status == BlockStatus.NOT_EXECUTED]
        if (
            waiting
            and not all(block.type == BlockType.DBT for block in waiting)
            and not self.has_completed_run(self.block.pipeline_uuid)
        ):
            names = ", ".join(block.uuid for block in waiting)
            raise NotReadyError(
                f"Upstream blocks of {self.block.uuid} have not been executed yet ({names}): "
                f"run pipeline {self.block.pipeline_uuid}"
            )

    def execute(self, request: RunRequest, log: CallLog, partition: str) -> list[Any]:
        """Execute the block and return its outputs.

        Raises:
            ApiError: 422, a variable has the name of one of the block's inputs.
            NotReadyError: an upstream block has never been executed.
            Exception: whatever the block raises.
        """
        if self.compiled is not None and not request.run_upstream_blocks:
            self.check_upstream()
            return self.compiled.execute(request.variables, log)
        return self._execute_by_mage(request, log, partition)

    def is_stored_by_mage(self, request: RunRequest) -> bool:
        """Whether `execute` lets Mage store the outputs."""
        return self.compiled is None or request.run_upstream_blocks

    def _execute_by_mage(self, request: RunRequest, log: CallLog, partition: str) -> list[Any]:
        # Mage's blocks hold the state of their execution, so each call loads its own.
        pipeline = Pipeline.get(self.block.pipeline_uuid, repo_path=str(self.block.pipeline.repo_path))
        for blocks in (pipeline.blocks_by_uuid, pipeline.callbacks_by_uuid, pipeline.conditionals_by_uuid):
            for each in blocks.values():
                each._redirect_streams = _keep_streams
        own = pipeline.blocks_by_uuid[self.block.uuid]
        if request.run_upstream_blocks:
            with _upstream_lock:
                own.run_upstream_blocks(
                    incomplete_only=request.incomplete_only, global_vars=copy.deepcopy(request.variables)
                )
        else:
            self.check_upstream()
        try:
            result = own.execute_with_callback(
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
            name = _DUPLICATE_ARGUMENT.search(str(error))
            if name and name[1] in request.variables:
                raise variable_is_input([name[1]]) from error
            raise
        outputs: list[Any] = result["output"]
        return outputs


class _CachedPipeline:
    """A pipeline and its compiled blocks, cached until one of their files changes."""

    def __init__(self, repo_path: Path, uuid: str, has_completed_run: Callable[[str], bool]):
        self._repo_path = repo_path
        self._uuid = uuid
        self._has_completed_run = has_completed_run
        # The project's metadata.yaml also has settings that apply to a pipeline, such as Spark.
        paths = (repo_path / "pipelines" / uuid / "metadata.yaml", repo_path / "metadata.yaml")
        self._metadata = [WatchedFile(path) for path in paths]
        self._pipeline: Pipeline | None = None
        self._found: dict[str, FoundBlock] = {}
        self._sources: dict[str, WatchedFile] = {}
        self._is_plain: dict[str, bool] = {}

    def find(self, block_uuid: str) -> FoundBlock:
        has_changed = [file.has_changed() for file in self._metadata]
        if self._pipeline is None or any(has_changed):
            self._pipeline = Pipeline.get(self._uuid, repo_path=str(self._repo_path))
            self._found, self._sources, self._is_plain = {}, {}, {}
        block = self._pipeline.blocks_by_uuid.get(block_uuid)
        if block is None:
            raise not_found(f"Pipeline {self._uuid!r} has no block {block_uuid!r}")
        if block_uuid not in self._is_plain:
            self._is_plain[block_uuid] = is_plain_python(block)
        if not self._is_plain[block_uuid]:
            return FoundBlock(block, None, self._has_completed_run)
        source = self._sources.get(block_uuid)
        if source is None:
            source = self._sources[block_uuid] = WatchedFile(Path(block.file_path))
        if source.has_changed() or block_uuid not in self._found:
            self._found.pop(block_uuid, None)
            code = compile(source.content, str(source.path), "exec", dont_inherit=True)
            compiled = CompiledBlock(block, code, tuple(block.upstream_block_uuids))
            self._found[block_uuid] = FoundBlock(block, compiled, self._has_completed_run)
        return self._found[block_uuid]


@contextlib.contextmanager
def _keep_streams(**_: Any) -> Any:
    """Replace Mage's redirection of `sys.stdout`: `capture` already separates the output of concurrent calls."""
    yield None, None
