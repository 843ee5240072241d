"""Settings from files that variables name, as Docker and Kubernetes mount secrets."""

import json

import pytest

from workflows.common import redaction, settings
from workflows.common.errors import WorkflowError
from workflows.common.settings import Settings, get_settings


def test_every_kind_of_setting_is_read_from_the_file_that_is_named(tmp_path, monkeypatch):
    values = {
        "OPENAI_API_KEY": "sk-mounted",
        "MAGE_DATABASE_CONNECTION_URL": "postgresql://mage:mounted-password@db/mage",
        "COMPANIES_API_HEADERS": json.dumps({"Authorization": "Bearer mounted-token"}),
        "RUN_API_WORKERS": "3",
    }
    for name, value in values.items():
        path = tmp_path / name.lower()
        # Editors and `echo` end a file with a line break.
        path.write_text(f"{value}\n")
        monkeypatch.setenv(f"{name}_FILE", str(path))
        monkeypatch.delenv(name, raising=False)
    read = get_settings()
    assert read.openai_api_key.get_secret_value() == values["OPENAI_API_KEY"]
    assert read.mage_database_connection_url.get_secret_value() == values["MAGE_DATABASE_CONNECTION_URL"]
    assert read.companies_api_headers["Authorization"].get_secret_value() == "Bearer mounted-token"
    assert read.run_api_workers == 3
    assert redaction.redact("mounted-token, mounted-password, sk-mounted") == "***, ***, ***"


def test_the_variable_itself_goes_before_the_file(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_text("of the file")
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(path))
    monkeypatch.setenv("OPENAI_API_KEY", "of the process")
    assert Settings().openai_api_key.get_secret_value() == "of the process"
    # An empty variable counts as not set, as everywhere.
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert Settings().openai_api_key.get_secret_value() == "of the file"


def test_env_can_name_the_file(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("of the file")
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY_FILE={tmp_path}/key\n")
    monkeypatch.setattr(settings, "ENV_FILE", tmp_path / ".env")
    assert Settings().openai_api_key.get_secret_value() == "of the file"


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("sk-mounted\n", encoding="utf-8-sig")
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert Settings().openai_api_key.get_secret_value() == "sk-mounted"


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(WorkflowError, match=r"OPENAI_API_KEY_FILE: .*/nowhere cannot be read \(FileNotFoundError\)"):
        get_settings()
