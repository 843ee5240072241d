"""What a start says about the language model and the users, and how a stop treats signals."""

import signal

import pytest

from stack.console import Console
from stack.launch import _uninterrupted, say_model, say_roles
from workflows.common.settings import Settings


@pytest.fixture
def said(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(Console, "say", lambda _, text="": lines.append(text))
    return lines


def settings_with(**values: object) -> Settings:
    return Settings(_env_file=None, **values)


def test_a_model_that_answers_takes_one_line(said, monkeypatch):
    monkeypatch.setattr("stack.launch.probe", lambda _: None)
    say_model(settings_with(openai_base_url="http://127.0.0.1:1/v1", llm_model="mine"), Console())
    assert said == ["Language model: mine (http://127.0.0.1:1/v1)"]


def test_a_key_alone_has_no_effect_and_this_is_said(said, monkeypatch):
    monkeypatch.setattr("stack.launch.probe", lambda _: None)
    say_model(settings_with(openai_api_key="secret"), Console())
    assert "local server" in said[0]
    assert said[1].startswith("OPENAI_API_KEY alone has no effect")
    assert "secret" not in " ".join(said)


def test_a_model_that_cannot_answer_is_a_warning_with_the_reason(said):
    # Nothing listens on port 1.
    say_model(settings_with(openai_base_url="http://127.0.0.1:1/v1", llm_model="mine", llm_retries=0), Console())
    assert said[0] == "Language model: mine (http://127.0.0.1:1/v1)"
    assert said[1].startswith("Warning: The language model mine")


def test_a_second_user_without_roles_is_a_warning(said):
    say_roles(1, Console())
    assert said == []
    say_roles(2, Console())
    assert said[0].startswith("Warning: There are 2 users")
    assert "REQUIRE_USER_PERMISSIONS=1" in said[0]


def test_what_is_started_after_a_stop_can_be_ended() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with _uninterrupted():
        assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) == before
