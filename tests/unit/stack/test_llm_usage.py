import os

from rich.console import Console

from stack.llm_usage import usage_table
from workflows.ai_blocks.usage import record, totals
from workflows.common.settings import Settings

ANSWER = {"source": "model", "cached": False, "input_tokens": 1000, "output_tokens": 100, "seconds": 1.5}


def lines(table):
    console = Console(width=140)
    with console.capture() as captured:
        console.print(table)
    return [line.split() for line in captured.get().splitlines()]


def test_a_line_a_run_and_the_sum(tmp_path):
    for run in (7, 7, None):
        record(tmp_path, run, ANSWER)
    os.utime(tmp_path / "run_00000007.jsonl", (1, 1))
    settings = Settings(llm_price_per_million_input_tokens=1, llm_price_per_million_output_tokens=10)
    shown = lines(usage_table(totals(tmp_path), settings))
    assert shown[1] == ["run", "7", "2", "2", "0", "2000", "200", "3.0", "0.0040"]
    assert shown[2][:2] == ["calls", "on"]
    assert shown[3] == ["total", "of", "2", "3", "3", "0", "3000", "300", "4.5", "0.0060"]


def test_no_prices_no_cost(tmp_path):
    record(tmp_path, 7, ANSWER)
    assert lines(usage_table(totals(tmp_path), Settings()))[1][-1] == "1.5"
