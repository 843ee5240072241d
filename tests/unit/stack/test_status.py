from stack.status import main, sizes
from workflows.common.files import write_text_atomically


def test_every_part_of_a_state_folder_is_counted(tmp_path):
    for name, size in {
        "mage/mage-ai.db": 10,
        "mage/project/pipelines/p/.variables/1/x/output.json": 20,
        "mage/project/pipelines/p/.logs/1/x/block.log": 30,
        "logs/mage.log": 40,
        "warehouse.duckdb": 50,
        "models/a/model.bin": 60,
    }.items():
        write_text_atomically(tmp_path / name, "x" * size)
    assert list(sizes(tmp_path)) == [
        ("Mage's database", 10, 1),
        ("block logs", 30, 1),
        ("block outputs", 20, 1),
        ("logs", 40, 1),
        ("models", 60, 1),
        ("warehouse.duckdb", 50, 1),
        ("all", 210, 6),
    ]


def test_a_stack_that_does_not_run_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    assert main() == 1
    assert "does not run" in capsys.readouterr().out
