"""What the log of a block says."""

import json
import logging

from workflows.common.errors import InvalidInputError
from workflows.common.settings import REPO_PATH


def test_the_last_line_is_the_reason_in_one_sentence(monkeypatch):
    from mage_ai.data_preparation.logging.logger import DictLogger
    from mage_ai.data_preparation.models.block import Block

    from mage_server import block_logs

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(record.getMessage()))
    logger = logging.getLogger("test_block_logs")
    logger.addHandler(handler)
    monkeypatch.setattr(Block, "_redirect_streams", Block._redirect_streams)
    monkeypatch.setattr(DictLogger, "exception", DictLogger.exception)
    block_logs.install()
    try:
        raise InvalidInputError("A variable cannot be used", {"count": "must be a whole number"})
    except InvalidInputError as error:
        DictLogger(logger, {"block_uuid": "plan_items"}).exception("Failed to execute block plan_items", error=error)
    logger.removeHandler(handler)
    assert [line["level"] for line in lines] == ["EXCEPTION", "ERROR"]
    assert lines[-1]["message"] == "A variable cannot be used (count: must be a whole number)"
    assert lines[-1]["block_uuid"] == "plan_items"
    assert "error_stack" not in lines[-1]


def test_what_a_block_logs_is_in_its_log(monkeypatch, mage):
    from mage_ai.data_preparation.logging.logger import DictLogger
    from mage_ai.data_preparation.models.block import Block
    from mage_ai.data_preparation.models.pipeline import Pipeline

    from mage_server import block_logs

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(record.getMessage()))
    logger = logging.getLogger("test_progress")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    monkeypatch.setattr(Block, "_redirect_streams", Block._redirect_streams)
    monkeypatch.setattr(DictLogger, "exception", DictLogger.exception)
    monkeypatch.setattr(logging.getLogger("workflows"), "level", logging.INFO)
    block_logs.install()
    block = Pipeline.get("dynamic_blocks_workflow", repo_path=str(REPO_PATH)).get_block("plan_items")
    tags = {"block_uuid": "plan_items"}
    block.execute_block(global_vars={"count": "5999"}, logger=DictLogger(logger), logging_tags=tags)
    logging.getLogger("workflows").info("after the block")
    (line,) = [line for line in lines if "items" in line["message"]]
    assert (line["message"], line["level"], line["block_uuid"]) == ("5999 rows make 5 items", "INFO", "plan_items")
    assert not any(line["message"] == "after the block" for line in lines)
