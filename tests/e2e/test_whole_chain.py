"""The six workflows on a real server and scheduler, with the real local language model, Spark and XGBoost."""

import csv
import itertools
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pandas as pd
import pytest
import requests

from stack.demo import CALLS, GRAPH, curl_command, refresh
from stack.launch import INFERENCE
from stack.mage_client import CLIENT_ID, children, wait_until
from workflows.common.processes import recorded_process
from workflows.common.settings import REPO_PATH
from workflows.ml_training_and_inference.champion import load_champion
from workflows.ml_training_and_inference.inference import predict_with
from workflows.passengers.contract import ATTRIBUTES, parse_attributes

pytestmark = pytest.mark.timeout(900)


CALLED_PIPELINE, CALLED_BLOCK = "ml_training_and_inference", "online_inference"


def runs_of(stack, *pipelines):
    return [run for pipeline in pipelines for run in stack.database.runs(pipeline)]


def by_pipeline(runs):
    return {run.pipeline: run for run in runs}


def test_the_schedule_makes_a_run_by_itself(stack):
    def scheduled():
        return [run for run in stack.database.runs("ingestion") if run.trigger == "every_15_minutes" and run.has_ended]

    assert wait_until(scheduled, 120)[0].status == "completed"


def test_the_demo_works(demo_worked):
    assert demo_worked


def test_every_item_has_a_fact_and_they_are_handed_on_in_order(stack, demo_worked):
    dynamic = stack.database.runs("dynamic_blocks_workflow")[-1]
    assert dynamic.variables["count"] == 891 * 12
    names = {block.block for block in dynamic.blocks if block.block.startswith("generate_fun_fact:")}
    assert names == {f"generate_fun_fact:item_{number}" for number in range(1, 11)}
    (spark,) = children(stack.database.runs("spark_workflow"), dynamic)
    facts = spark.variables["fun_facts"]
    assert len(facts) == 10
    for number, fact in enumerate(facts, start=1):
        assert re.search(rf"\b{number}\b", fact), f"fact {number} is not about {number}: {fact}"


def test_the_data_product_was_refreshed_once_and_the_refresh_started_nothing(stack, demo_refreshes):
    assert [run.status for run in demo_refreshes] == ["completed"]
    others = runs_of(stack, "dynamic_blocks_workflow", "ml_training_and_inference")
    assert children(others, demo_refreshes[0]) == []


def test_ingestion_filled_duckdb(e2e_state_dir, demo_worked):
    path = e2e_state_dir / "warehouse.duckdb"

    def read():
        try:
            with duckdb.connect(str(path), read_only=True) as connection:
                return connection.sql("SELECT count(*), sum(employeeCount) FROM raw_companies").fetchall()
        except duckdb.IOException:
            return None

    assert wait_until(read, 30) == [(12, 35_000)]


def test_spark_wrote_every_salary_with_a_fact(e2e_state_dir, stack, demo_worked):
    run = stack.database.runs("spark_workflow")[-1]
    matched, facts = (
        pd.read_parquet(*(e2e_state_dir / "spark").glob(f"*_run_{run.id}_{name}_*"))
        for name in ("matched_salaries", "facts")
    )
    assert len(matched) == 100_000
    assert matched["employee_id"].is_unique
    assert matched["salary_usd"].isna().any()
    assert list(facts.sort_values("fact_index")["fact"]) == run.variables["fun_facts"]
    assert set(matched["fact_index"]) == set(facts["fact_index"])


def test_the_documented_calls_work_with_curl(stack, demo_worked):
    answers = {}
    for call in CALLS:
        done = subprocess.run(
            ["bash", "-c", curl_command(stack, call)], capture_output=True, text=True, timeout=120, check=True
        )
        answers[call.block] = json.loads(done.stdout)["run"]["output"]
    prediction = json.dumps(answers["online_inference"])
    assert '"survived"' in prediction
    assert '"model_version"' in prediction
    advice = json.dumps(answers["will_i_survive"])
    assert '"source"' in advice
    assert '"framework_version"' in advice


def callers() -> Iterator[dict[str, object]]:
    """The texts of the CSV; what is missing is left out, null, empty or said to be unknown, in turn."""
    with (REPO_PATH / "data" / "titanic.csv").open(encoding="utf-8", newline="") as file:
        for row, way in zip(csv.DictReader(file), itertools.cycle(["left out", None, "", "unknown"])):
            variables = {column.name: row[column.csv_name] or way for column in ATTRIBUTES}
            yield {name: value for name, value in variables.items() if value != "left out"}


def test_every_passenger_gets_the_same_answer_over_http_and_in_process(stack, demo_worked):
    version = load_champion(stack.settings.models_dir)
    passengers = list(callers())
    headers = {"Authorization": f"Bearer {stack.trigger(CALLED_PIPELINE, INFERENCE).token}"}
    kept_alive = threading.local()

    def ask(variables):
        if not hasattr(kept_alive, "session"):
            kept_alive.session = requests.Session()
        run = {"pipeline_uuid": CALLED_PIPELINE, "block_uuid": CALLED_BLOCK, "variables": variables, "record": False}
        response = kept_alive.session.post(
            f"{stack.server.url}/api/runs", json={"run": run}, headers=headers, timeout=60
        )
        assert response.status_code == 200, f"{variables}: {response.text}"
        return response.json()["run"]["output"]

    with ThreadPoolExecutor(stack.settings.run_api_workers) as executor:
        answers = list(executor.map(ask, passengers))

    assert len(answers) == 891
    assert len({answer["probability"] for (answer,) in answers}) > 500
    for variables, output in zip(passengers, answers, strict=True):
        # JSON writes floats so that they read back as the same.
        assert output == [predict_with(version, parse_attributes(variables))], variables
    assert load_champion(stack.settings.models_dir).name == version.name


def test_an_explanation_can_be_had_alone(stack, demo_worked):
    call = CALLS[0]
    output = stack.client.run_block(
        call.pipeline, "explain_prediction", stack.trigger(call.pipeline, "inference"), call.example
    )
    assert '"explanation"' in json.dumps(output)


def test_a_rerun_works_on_what_is_there_and_refreshes_nothing(stack, demo_worked, run_to_the_end):
    refreshes = [run.id for run in stack.database.refreshes("core_users")]
    runs = run_to_the_end("sql_python_workflow", "run_now")
    assert {run.pipeline for run in runs} == {
        "sql_python_workflow",
        "dynamic_blocks_workflow",
        "spark_workflow",
        "ml_training_and_inference",
        "llm_inference",
    }
    assert {run.status for run in runs} == {"completed"}
    assert [run.id for run in stack.database.refreshes("core_users")] == refreshes


def test_a_refresh_that_is_asked_for_recomputes_the_data_product(stack, demo_refreshes, console):
    before = {run.id for run in stack.database.refreshes("core_users")}
    assert refresh(stack.settings, console)
    (made,) = [run for run in stack.database.refreshes("core_users") if run.id not in before]
    assert made.status == "completed"


@pytest.mark.parametrize("count", [0, 999])
def test_no_items_hand_on_an_empty_list(count, stack, run_to_the_end):
    runs = by_pipeline(run_to_the_end("dynamic_blocks_workflow", "called_from_code", count=count))
    dynamic, spark = runs["dynamic_blocks_workflow"], runs["spark_workflow"]
    assert dynamic.status == spark.status == "completed"
    assert spark.variables["fun_facts"] == []
    assert not any(block.block.startswith("generate_fun_fact:") for block in dynamic.blocks)
    # Mage by itself waits 120 s for the items of an empty list, and fails.
    assert dynamic.seconds(dynamic.created_at) < 60


def test_more_than_ten_items_stay_in_order(stack, run_to_the_end):
    runs = by_pipeline(run_to_the_end("dynamic_blocks_workflow", "called_from_code", count=12_500))
    facts = runs["spark_workflow"].variables["fun_facts"]
    assert len(facts) == 12
    assert all(re.search(rf"\b{number}\b", fact) for number, fact in enumerate(facts, start=1))


@pytest.mark.parametrize("variables", [{"count": -1}, {"count": "many"}])
def test_a_bad_count_fails_starts_nothing_and_is_reported(variables, e2e_state_dir, stack, slack, run_to_the_end):
    (run,) = run_to_the_end("dynamic_blocks_workflow", "called_from_code", **variables)
    assert run.status == "failed"
    assert children(stack.database.runs("spark_workflow"), run) == []
    log = max(e2e_state_dir.rglob("plan_items.log"), key=lambda path: path.stat().st_mtime)
    errors = [line for line in log.read_text().splitlines() if '"level": "ERROR"' in line]
    assert "count: must be a whole number of at least 0" in errors[-1]
    assert "Traceback" not in errors[-1]
    page = f"http://localhost:{stack.settings.port}/pipelines/dynamic_blocks_workflow/runs/{run.id} "
    (report,) = wait_until(lambda: [text for text in map(json.dumps, slack.requests) if page in text], 20)
    assert "Failed to run Pipeline `dynamic_blocks_workflow`" in report
    assert "plan_items" in report


def test_nobody_gets_in_without_the_generated_password(stack):
    assert "error" in requests.get(f"{stack.server.url}/api/pipelines", timeout=30).json()
    for email, password in (("admin@admin.com", "admin"), (stack.settings.owner_email, "admin")):
        body = {"session": {"email": email, "password": password}, "api_key": CLIENT_ID}
        assert "error" in requests.post(f"{stack.server.url}/api/sessions", json=body, timeout=30).json()


def test_secrets_are_readable_by_the_owner_alone(e2e_state_dir, stack):
    assert (e2e_state_dir / "secrets.json").stat().st_mode & 0o077 == 0


def test_no_token_and_no_password_is_in_a_log_or_in_the_repository(e2e_state_dir, stack, demo_worked):
    secrets = [stack.trigger(call.pipeline, "inference").token for call in CALLS]
    secrets += [stack.secrets.owner_password, stack.secrets.jwt_secret]
    logs = list((e2e_state_dir / "logs").iterdir())
    tracked = subprocess.run(["git", "ls-files"], cwd=REPO_PATH, capture_output=True, text=True, check=True)
    files = [REPO_PATH / name for name in tracked.stdout.splitlines() if (REPO_PATH / name).is_file()]
    assert logs
    for path in logs + files:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in secrets), path


def test_mage_has_rewritten_nothing(stack, demo_worked, project_before):
    assert {path: path.read_bytes() for path in project_before} == project_before
    untracked = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all", "--", "pipelines"],
        cwd=REPO_PATH,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "??" not in untracked.stdout


def test_a_model_server_that_dies_under_way_is_started_again(e2e_state_dir, stack, demo_worked):
    """The children that were talking to it try again; the run completes."""
    # The answers about the first ten numbers are kept from the demo.
    run_id = stack.start_run("dynamic_blocks_workflow", "called_from_code", {"count": 14_000}).id

    def this_run():
        return next(run for run in stack.database.runs("dynamic_blocks_workflow") if run.id == run_id)

    def a_child_runs():
        names = [block.block for block in this_run().blocks if block.status == "running"]
        return any(re.fullmatch(r"generate_fun_fact:item_1[1-4]", name) for name in names)

    wait_until(a_child_runs, 120, poll_seconds=0.1)
    server = recorded_process(e2e_state_dir / "services" / "llm_server.json")
    server.kill()
    assert wait_until(lambda: this_run().has_ended, 300)
    assert this_run().status == "completed"
    assert recorded_process(e2e_state_dir / "services" / "llm_server.json").pid != server.pid


def test_the_scheduler_uses_the_job_queue_without_races(e2e_state_dir, demo_worked):
    """Mage's own queue, which loses jobs, says each time that it has one."""
    assert "[ProcessQueue]" not in (e2e_state_dir / "logs" / "mage.log").read_text(errors="replace")


def test_no_block_of_any_run_was_scheduled_twice(stack, demo_worked):
    """A scheduler that looks while a run is being made must not make its block runs again."""
    for pipeline in GRAPH.pipelines:
        for run in stack.database.runs(pipeline):
            names = [block.block for block in run.blocks]
            assert len(names) == len(set(names)), f"{pipeline} #{run.id}: {names}"
