"""The chain with a configured provider of language models that refuses every other call as one too many."""

import json
import re
from collections.abc import Iterator

import pytest

from stack.console import Console
from stack.demo import GRAPH, follow
from stack.launch import Stack, running_stack
from stack.mage_client import wait_until
from tests.provider import Provider, answer, failure
from workflows.ai_blocks.usage import totals
from workflows.common.processes import free_port
from workflows.common.settings import get_settings

pytestmark = pytest.mark.timeout(900)

KEY = "sk-secret-of-the-provider"


def honest(request: dict) -> tuple:
    """Answer each prompt with something that passes its checks."""
    question = request["messages"][-1]["content"]
    fields = request["response_format"]["json_schema"]["schema"]["properties"]
    listed = re.findall(r"^- (.+)$", question, re.MULTILINE)
    if fields.keys() == {"answer"}:
        # The short question at the start.
        values = {"answer": "Hello."}
    elif "fun_fact" in fields:
        values = {"fun_fact": listed[0], "claims": []}
    elif "traits" in fields:
        values = {"attributes": [], "traits": []}
    elif "rules" in fields:
        group, count, percent = re.fullmatch(r"(.+): (\d+), (\d+) %", listed[0]).groups()
        text = "Start from the rate of all passengers, and replace it by that of the smallest group that fits."
        rule = {"group": group, "count": int(count), "survival_percent": int(percent)}
        values = {"framework": text, "rules": [rule]}
    elif "strongest" in fields:
        texts = {"explanation": "The features listed decided it, the strongest of them first of all.", "strongest": []}
        outcome = re.search(r"Prediction: (\w+)", question)[1]
        values = {"outcome": outcome, **texts, "what_should_have_changed": "One of the changes.", "changes": []}
    else:
        likelihood = int(re.search(r"group that fits: (\d+) %", question)[1])
        verdict = "yes" if likelihood >= 50 else "no"
        text = "The rate of the group decides, since nothing else is known."
        values = {"likelihood_percent": likelihood, "verdict": verdict, "answer": text, "reasons": []}
    return answer(json.dumps(values), usage={"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110})


@pytest.fixture
def provider() -> Iterator[Provider]:
    refused: set[str] = set()

    def each_once(request: dict) -> tuple:
        question = json.dumps(request["messages"])
        if question in refused:
            return honest(request)
        refused.add(question)
        return failure(429, "Rate limit reached", Retry_After="1")

    server = Provider(each_once)
    yield server
    server.stop()


@pytest.fixture
def stack(tmp_path, monkeypatch: pytest.MonkeyPatch, provider: Provider) -> Iterator[Stack]:
    for name in ("MAGE_DATA_DIR", "MAGE_DATABASE_CONNECTION_URL", "DUCKDB_DATABASE", "REQUIRE_USER_AUTHENTICATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("LLM_MODEL", "small")
    with running_stack(get_settings(), Console()) as running:
        yield running


def test_a_rate_limited_provider_slows_the_chain_and_does_not_fail_it(stack, provider):
    first = wait_until(lambda: next(iter(stack.database.runs("sql_python_workflow")), None), 120)
    runs = follow(stack.database, first, Console())
    assert {run.pipeline for run in runs} == set(GRAPH.chain("sql_python_workflow"))
    assert {run.status for run in runs} == {"completed"}
    # The one at the start, the fun facts, the explanation, the framework, the bio and the answer to it; more where an
    # answer does not pass the checks. Each is refused once and answered once.
    asked = len(provider.requests)
    assert asked >= 2 * (1 + 10 + 4)
    assert provider.most_at_once <= 2

    by_pipeline = {run.pipeline: run for run in runs}
    spent = totals(stack.settings.llm_dir / "usage")
    dynamic = spent[f"run_{by_pipeline['dynamic_blocks_workflow'].id:08d}"]
    assert (dynamic.answers, dynamic.from_model, dynamic.input_tokens) == (10, 10, 1000)

    again = follow(
        stack.database, stack.start_run("dynamic_blocks_workflow", "called_from_code", {"count": 12 * 891}), Console()
    )
    assert {run.status for run in again} == {"completed"}
    assert len(provider.requests) == asked, "the same questions are asked once"
    logs = "".join(path.read_text(errors="replace") for path in stack.settings.state_dir.rglob("*.log"))
    assert "all calls pause for" in logs
    assert KEY not in logs
