"""The AI block that the documentation adds works as it stands there."""

import json
import re

import pytest
import yaml

from tests.provider import Provider, answer
from workflows.ai_blocks import answers
from workflows.ai_blocks.prompts import PROMPTS_DIR, load_prompt
from workflows.common.settings import Settings

README = (PROMPTS_DIR / "README.md").read_text(encoding="utf-8")
COMPANY = {"name": "Mage", "employeeCount": 1234}
FIELDS = {"description", "size", "source", "model", "prompt_version", "attempts", "refusals", "cut", "cached"}


def example(language):
    (text,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return text


@pytest.fixture
def describe_company(tmp_path, monkeypatch):
    """Return a function that calls the block with a model that answers as told."""
    (tmp_path / "describe_company.yaml").write_text(example("yaml"), encoding="utf-8")
    prompt = load_prompt("describe_company", tmp_path)
    monkeypatch.setattr(answers, "_prompt", {"describe_company": prompt}.__getitem__)
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


def test_a_good_answer_is_taken(describe_company):
    output, server = describe_company({"description": "Mage has 1,234 employees.", "size": "large"})
    assert (output["description"], output["size"]) == ("Mage has 1,234 employees.", "large")
    assert (output["source"], output["attempts"]) == ("model", 1)
    assert output.keys() >= FIELDS
    assert "- Mage has 1234 employees." in server.requests[0]["messages"][-1]["content"]


def test_a_wrong_one_is_not(describe_company):
    output, server = describe_company({"description": "Mage has 1,235 employees.", "size": "large"})
    assert (output["description"], output["size"]) == ("Mage has 1234 employees.", "unknown")
    assert (output["source"], len(server.requests)) == ("facts", 2)


def test_every_key_of_a_prompt_file_is_documented():
    for path in PROMPTS_DIR.glob("*.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in [*content, *(f"validation.{rule}" for rule in content["validation"])]:
            assert re.search(rf"`{key}[`.]", README), f"{key} of {path.name}"
