import os
import stat

import pytest

from stack import environment
from stack.environment import mage_environment
from stack.secrets import Secrets, load_or_create
from workflows.common.settings import Settings

SECRETS = Secrets(owner_password="the-password", jwt_secret="the-key")


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path)


def test_it_is_closed_by_default(settings, monkeypatch):
    monkeypatch.delenv("REQUIRE_USER_AUTHENTICATION", raising=False)
    made = mage_environment(settings, SECRETS)
    assert made["REQUIRE_USER_AUTHENTICATION"] == "1"
    assert made["DISABLE_TERMINAL"] == "1"
    assert made["HIDE_API_TRIGGER_TOKEN"] == "1"
    assert made["DEFAULT_OWNER_PASSWORD"] == "the-password"
    assert made["JWT_SECRET"] == "the-key"


def test_the_state_goes_to_the_state_folder(tmp_path, monkeypatch):
    for name in ("MAGE_DATABASE_CONNECTION_URL", "DUCKDB_DATABASE", "MAGE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings(state_dir=tmp_path)
    made = mage_environment(settings, SECRETS)
    for name in ("STATE_DIR", "MAGE_DATA_DIR", "DUCKDB_DATABASE"):
        assert made[name].startswith(str(tmp_path))
    assert str(tmp_path) in made["MAGE_DATABASE_CONNECTION_URL"]


def test_the_short_name_of_postgres_is_taken(tmp_path):
    settings = Settings(state_dir=tmp_path, mage_database_connection_url="postgres://u:p@db/mage")
    assert mage_environment(settings, SECRETS)["MAGE_DATABASE_CONNECTION_URL"] == "postgresql://u:p@db/mage"


def test_the_file_overrides_defaults_and_the_process_overrides_the_file(settings, tmp_path, monkeypatch):
    file = tmp_path / ".env"
    file.write_text("DISABLE_TERMINAL=0\nMASTER=spark://file:7077\nSPARK_CONF_DIR=\n")
    monkeypatch.setattr(environment, "ENV_FILE", file)
    monkeypatch.setenv("MASTER", "spark://process:7077")
    monkeypatch.setenv("SPARK_CONF_DIR", "/conf")
    made = mage_environment(settings, SECRETS)
    assert made["DISABLE_TERMINAL"] == "0"
    assert made["MASTER"] == "spark://process:7077"
    assert made["SPARK_CONF_DIR"] == "/conf"


def test_a_secret_of_mage_is_read_from_the_file_that_is_named(settings, tmp_path, monkeypatch):
    (tmp_path / "webhook").write_text("http://slack/hook\n")
    monkeypatch.setenv("MAGE_SLACK_WEBHOOK_URL_FILE", str(tmp_path / "webhook"))
    assert mage_environment(settings, SECRETS)["MAGE_SLACK_WEBHOOK_URL"] == "http://slack/hook"


def test_a_configured_database_is_used_as_it_is(tmp_path):
    settings = Settings(state_dir=tmp_path, mage_database_connection_url="postgresql://u:p@db/mage")
    assert mage_environment(settings, SECRETS)["MAGE_DATABASE_CONNECTION_URL"] == "postgresql://u:p@db/mage"


def test_secrets_are_made_once_per_state_folder_and_shown_to_nobody(tmp_path):
    made = load_or_create(tmp_path / "a")
    assert load_or_create(tmp_path / "a") == made
    other = load_or_create(tmp_path / "b")
    assert not {other.owner_password, other.jwt_secret} & {made.owner_password, made.jwt_secret}
    assert len(made.owner_password) >= 12
    assert made.owner_password not in repr(made)
    assert stat.S_IMODE(os.stat(tmp_path / "a" / "secrets.json").st_mode) == 0o600
