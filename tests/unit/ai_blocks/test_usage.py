import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from workflows.ai_blocks import usage
from workflows.ai_blocks.usage import Usage, record, totals


def answer(**changes):
    values = {
        "prompt": "p",
        "source": "model",
        "cached": False,
        "input_tokens": 100,
        "output_tokens": 20,
        "seconds": 1.5,
    }
    return {**values, **changes}


def test_a_run_is_summed_up(tmp_path):
    record(tmp_path, 12, answer())
    record(tmp_path, 12, answer(source="facts", input_tokens=200))
    record(tmp_path, 12, answer(cached=True))
    record(tmp_path, 13, answer())
    assert totals(tmp_path) == {
        "run_00000012": Usage(answers=3, from_model=2, from_cache=1, input_tokens=300, output_tokens=40, seconds=3.0),
        "run_00000013": Usage(answers=1, from_model=1, input_tokens=100, output_tokens=20, seconds=1.5),
    }


@pytest.mark.parametrize("run", [None, "12", "../../etc/passwd", 1.5, {}])
def test_what_is_no_run_is_a_call(tmp_path, run):
    record(tmp_path, run, answer())
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("calls_")


def test_lines_that_cannot_be_read_are_left_out(tmp_path):
    record(tmp_path, 1, answer())
    with (tmp_path / "run_00000001.jsonl").open("a") as file:
        file.write('{"prompt": "p", "sou\n[]\n{}\n')
    record(tmp_path, 1, answer())
    assert totals(tmp_path)["run_00000001"].answers == 2


def test_concurrent_answers_are_all_counted(tmp_path):
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda _: record(tmp_path, 1, answer(prompt="x" * 300)), range(200)))
    assert totals(tmp_path)["run_00000001"].answers == 200


def test_old_files_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(usage, "KEPT_FILES", 3)
    for run in range(6):
        record(tmp_path, run, answer())
    assert len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "run_00000005.jsonl").exists()


def test_processes_that_drop_files_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(usage, "KEPT_FILES", 3)
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda run: record(tmp_path, run, answer()), range(200)))
    assert all(sums.answers == 1 for sums in totals(tmp_path).values())


def test_cost_needs_both_prices():
    spent = Usage(input_tokens=2_000_000, output_tokens=100_000)
    assert spent.cost(0.5, 2.0) == pytest.approx(1.2)
    assert spent.cost(0.5, None) is spent.cost(None, 2.0) is None


def test_a_line_says_what_was_asked(tmp_path):
    record(tmp_path, 1, answer(model="m"))
    line = json.loads((tmp_path / "run_00000001.jsonl").read_text())
    assert (line["prompt"], line["model"]) == ("p", "m")
    assert line["time_utc"].endswith("+00:00")
