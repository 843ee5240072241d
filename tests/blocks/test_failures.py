"""What the log of a failed block ends with."""

import json
import logging

from workflows.common.errors import InvalidInputError


def test_the_last_line_is_the_reason_in_one_sentence(monkeypatch):
    from mage_ai.data_preparation.logging.logger import DictLogger

    from mage_server import failures

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(record.getMessage()))
    logger = logging.getLogger("test_failures")
    logger.addHandler(handler)
    monkeypatch.setattr(DictLogger, "exception", DictLogger.exception)
    failures.install()
    try:
        raise InvalidInputError("A variable cannot be used", {"count": "must be a whole number"})
    except InvalidInputError as error:
        DictLogger(logger, {"block_uuid": "plan_items"}).exception("Failed to execute block plan_items", error=error)
    logger.removeHandler(handler)
    assert [line["level"] for line in lines] == ["EXCEPTION", "ERROR"]
    assert lines[-1]["message"] == "A variable cannot be used (count: must be a whole number)"
    assert lines[-1]["block_uuid"] == "plan_items"
    assert "error_stack" not in lines[-1]
