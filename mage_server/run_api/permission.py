"""Say which blocks may be called: a token is given away to call one block, not to train or to start pipelines."""

from mage_ai.data_preparation.models.block import Block

from mage_server.run_api.http_errors import forbidden
from mage_server.run_api.schema import find_callable_block

# In the block's `configuration` in its pipeline's metadata.yaml.
CONFIGURATION_KEY = "run_api"


def check_callable(block: Block, with_upstream: bool) -> None:
    """Check that a block may be called, and the blocks above it where they are run first.

    Args:
        block: The block that is called.
        with_upstream: Whether its upstream blocks are run, too.

    Raises:
        ApiError: 403, one of these blocks may not be called.
    """
    seen: set[str] = set()
    waiting = [block]
    while waiting:
        each = waiting.pop()
        if each.uuid in seen:
            continue
        seen.add(each.uuid)
        if not is_callable(each):
            raise forbidden(
                f"Block {each.uuid!r} may not be called; its owner allows it with {CONFIGURATION_KEY}: true under "
                "configuration in the pipeline's metadata.yaml"
            )
        waiting += each.upstream_blocks if with_upstream else []


def is_callable(block: Block) -> bool:
    """Whether a block is listed in callable_blocks.py, or its configuration says that it may be called."""
    if find_callable_block(block.pipeline_uuid, block.uuid) is not None:
        return True
    return (block.configuration or {}).get(CONFIGURATION_KEY) is True
