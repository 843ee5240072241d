"""Keep secrets out of what Mage stores of a run: outputs of blocks, and the reason of a failed block."""

import functools
from collections.abc import Callable
from typing import Any

from mage_ai.data_preparation.models.variable import Variable
from mage_ai.orchestration.db.models.schedules import BlockRun
from sqlalchemy import event

from workflows.common.redaction import redacted


def install() -> None:
    """Wrap how Mage writes outputs, and what it sets as metrics of a block's run."""
    Variable.write_data = _redacting(Variable.write_data)
    Variable.write_data_async = _redacting(Variable.write_data_async)
    event.listen(BlockRun.metrics, "set", lambda _run, metrics, _old, _initiator: redacted(metrics), retval=True)


def _redacting(original: Callable[[Variable, Any], Any]) -> Callable[[Variable, Any], Any]:
    @functools.wraps(original)
    def write_data(self: Variable, data: Any) -> Any:
        return original(self, redacted(data))

    return write_data
