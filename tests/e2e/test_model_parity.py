"""All passengers over the real `/api/runs`: the answers are those in process of the same version, to the last bit."""

import csv
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from stack.launch import INFERENCE
from workflows.common.settings import REPO_PATH
from workflows.sql_python.passengers import ATTRIBUTES, parse_attributes
from workflows.survival.inference import predict_with
from workflows.survival.registry import serving_version

PIPELINE, BLOCK = "ml_training_and_inference", "online_inference"

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("demo")]


def callers() -> Iterator[dict[str, object]]:
    """The texts of the CSV; what is missing is left out, null, empty or said to be unknown, in turn."""
    with (REPO_PATH / "data" / "titanic.csv").open(encoding="utf-8", newline="") as file:
        for row, way in zip(csv.DictReader(file), itertools.cycle(["left out", None, "", "unknown"])):
            variables = {column.name: row[column.csv_name] or way for column in ATTRIBUTES}
            yield {name: value for name, value in variables.items() if value != "left out"}


def test_every_passenger_gets_the_same_answer_over_http_and_in_process(stack, demo_worked):
    version = serving_version(stack.settings.models_dir)
    passengers = list(callers())
    headers = {"Authorization": f"Bearer {stack.trigger(PIPELINE, INFERENCE).token}"}
    kept_alive = threading.local()

    def ask(variables):
        if not hasattr(kept_alive, "session"):
            kept_alive.session = requests.Session()
        run = {"pipeline_uuid": PIPELINE, "block_uuid": BLOCK, "variables": variables, "record": False}
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
    assert serving_version(stack.settings.models_dir).name == version.name
