"""The AI block that the documentation adds works as it stands there."""

import json
import re

import pytest
import yaml

from tests.provider import Provider, answer
from workflows.ai_blocks import answers
from workflows.ai_blocks.answers import Answer
from workflows.ai_blocks.checks import DECLARED
from workflows.ai_blocks.prompts import PROMPTS_DIR, load_prompt
from workflows.common.settings import Settings

README = (PROMPTS_DIR / "README.md").read_text(encoding="utf-8")
COMPANY = {"name": "Mage", "employeeCount": 1234}


def example(language):
    (text,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return text


@pytest.fixture
def describe_company(tmp_path, monkeypatch):
    """Return a function that calls the block with a model that answers as told."""
    (tmp_path / "describe_company.yaml").write_text(example("yaml"), encoding="utf-8")
    monkeypatch.setattr(answers, "load_prompt", lambda name: load_prompt(name, tmp_path))
    servers = []

    def call(*said):
        servers.append(Provider(*[answer(json.dumps(one)) for one in said]))
        settings = Settings(openai_base_url=servers[-1].url, llm_model="m", state_dir=tmp_path / "state")
        monkeypatch.setattr(answers, "get_settings", lambda: settings)
        names = {"transformer": lambda function: function}
        exec(compile(example("python"), "describe_company.py", "exec"), names)
        return names["describe_company"](COMPANY, pipeline_run_id=3), servers[-1]

    yield call
    for server in servers:
        server.stop()


def test_a_good_answer_is_accepted(describe_company):
    output, server = describe_company({"description": "Mage has 1,234 employees.", "size": "large"})
    assert (output["description"], output["size"]) == ("Mage has 1,234 employees.", "large")
    assert (output["source"], output["unchecked"]) == ("model", ["size"])
    assert '{"name": "Mage", "employeeCount": 1234}' in server.requests[0]["messages"][-1]["content"]


def test_a_wrong_one_is_not(describe_company):
    output, server = describe_company({"description": "Mage has 1,235 employees.", "size": "large"})
    assert (output["description"], output["size"]) == ("Mage has 1234 employees.", "unknown")
    assert (output["source"], len(server.requests)) == ("facts", 2)


def test_every_key_and_check_is_documented():
    keys = {key for path in PROMPTS_DIR.glob("*.yaml") for key in yaml.safe_load(path.read_text(encoding="utf-8"))}
    for name in (keys - {"output"}) | {"output.format", "output.validation"} | set(DECLARED):
        assert f"| `{name}` |" in README, name
    for name in Answer.__dataclass_fields__:
        assert name == "values" or f"`{name}`" in README, name
