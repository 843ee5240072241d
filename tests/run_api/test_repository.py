"""The two documented calls on this repository: answers, schemas, and whatever else a caller may send."""

import shlex
import subprocess
from importlib.metadata import version
from typing import Any

import jsonschema
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
    use_after_free,
)

from benchmarks.servers import RunningServer
from mage_server.callable_blocks import CALLABLE_BLOCKS, PASSENGER_EXAMPLE
from mage_server.run_api.handlers import API_VERSION
from mage_server.run_api.schema import openapi_document, variables_schema
from stack.mage_client import wait_until
from workflows.common.settings import REPO_PATH
from workflows.passengers.contract import ATTRIBUTE_NAMES

CALL = ("ml_training_and_inference", "online_inference")
# Starting a server takes longer than hypothesis expects of a fixture.
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS, max_size=3)
PASSENGERS = st.dictionaries(st.sampled_from(ATTRIBUTE_NAMES) | st.text(max_size=8), VALUES, max_size=12)


def check_answer(response: requests.Response, server: RunningServer, statuses: set[int]) -> None:
    """No 5xx, no trace, no token, nothing of the server's folders."""
    assert response.status_code in statuses, response.text
    response.json()
    for secret in ("Traceback", "site-packages", str(server.folder), server.token(CALL[0]), '.py"'):
        assert secret not in response.text


class TestDocumentedCalls:
    def test_online_inference(self, repository: RunningServer):
        output = repository.output(*CALL, PASSENGER_EXAMPLE)
        assert output[0]["survived"] in (0, 1)
        assert output[0]["passenger"]["fare"] == 100

    @pytest.mark.skipif(version("mage-ai") != "0.9.79", reason="Mage's own handler works on 0.9.79 alone")
    @pytest.mark.parametrize("variables", [PASSENGER_EXAMPLE, {"sex": "male"}, {"sex": "male", "further": 1}])
    def test_online_inference_answers_as_mage_does(
        self, repository: RunningServer, shipped: RunningServer, variables: dict
    ):
        assert repository.output(*CALL, variables) == shipped.output(*CALL, variables)

    @pytest.mark.parametrize(
        "variables", [{"Pclass": 1, "Sex": "female", "Name": "Kim"}, {"PCLASS": 1, "sex": "female", "name": "Kim"}]
    )
    def test_names_in_another_case_or_of_the_csv_are_taken(self, repository: RunningServer, variables: dict):
        canonical = {"pclass": 1, "sex": "female", "_name": "Kim"}
        assert repository.call(*CALL, variables).json() == repository.call(*CALL, canonical).json()

    def test_unknown_names_are_listed_in_the_answer(self, repository: RunningServer):
        answer = repository.call(*CALL, {"sex": "male", "agee": 21, "x": 1}).json()["run"]
        assert answer["ignored"] == ["agee", "x"]
        assert answer["output"][0]["passenger"]["age"] is None

    @pytest.mark.parametrize(
        ("variables", "field", "reason"),
        [
            ({"fair": 7}, "fair", "is unknown; did you mean fare?"),
            ({"pclas": 3}, "pclas", "is unknown; did you mean pclass?"),
            ({"qqq": 3}, "qqq", "is unknown; known are pclass, _name"),
            ({}, "variables", "give at least one of pclass, _name"),
        ],
    )
    def test_a_call_without_any_known_name_is_refused(
        self, repository: RunningServer, variables: dict, field: str, reason: str
    ):
        response = repository.call(*CALL, variables)
        assert response.status_code == 422
        (detail,) = response.json()["error"]["details"]
        assert detail["field"] == field
        assert detail["reason"].startswith(reason)

    def test_a_name_given_twice_is_refused(self, repository: RunningServer):
        response = repository.call(*CALL, {"sex": "male", "Sex": "female"})
        assert response.status_code == 422
        assert response.json()["error"]["details"] == [{"field": "Sex", "reason": "means sex, which is also given"}]

    def test_explain_prediction(self, repository: RunningServer):
        assert repository.output("ml_training_and_inference", "explain_prediction", PASSENGER_EXAMPLE)[0]

    def test_every_wrong_field_of_a_passenger_is_named(self, repository: RunningServer):
        response = repository.call(*CALL, {"age": "old", "pclass": 7, "sex": "x", "fare": [1], "sibsp": "1"})
        assert response.status_code == 422
        details = response.json()["error"]["details"]
        assert {detail["field"] for detail in details} == {"age", "pclass", "sex", "fare"}
        assert all(detail["reason"] for detail in details)

    @pytest.mark.parametrize(
        ("variables", "field"),
        [({}, "about_me"), ({"about_me": {}}, "about_me.bio"), ({"about_me": {"bio": ""}}, "about_me.bio")],
    )
    def test_the_wrong_field_of_a_bio_is_named(self, repository: RunningServer, variables: dict, field: str):
        response = repository.call("llm_inference", "will_i_survive", variables)
        assert response.status_code == 422
        assert [detail["field"] for detail in response.json()["error"]["details"]] == [field]

    def test_without_a_framework_the_pipeline_to_run_is_named(self, repository: RunningServer):
        response = repository.call("llm_inference", "will_i_survive", {"about_me": {"bio": "I am 21."}})
        assert response.status_code == 409
        assert "llm_inference" in response.json()["error"]["message"]

    def test_the_next_model_serves_from_the_next_call_on(self, repository: RunningServer):
        from workflows.common.settings import REPO_PATH
        from workflows.ml_training_and_inference.registry import CHAMPION, NAME, Registry
        from workflows.ml_training_and_inference.train_and_promote import train_survival_model
        from workflows.passengers.files import load_passengers

        before = repository.output(*CALL, PASSENGER_EXAMPLE)[0]["model_version"]
        fewer = load_passengers(str(REPO_PATH / "data" / "titanic.csv")).iloc[:800]
        models = repository.folder / "state" / "models"
        name = train_survival_model(fewer, models, repeats=1)["model_version"].iloc[0]
        # Of fewer passengers it may learn too little to be promoted by the rules.
        Registry(models).promote(name)
        assert repository.output(*CALL, PASSENGER_EXAMPLE)[0]["model_version"] == name != before
        # Somebody promotes in MLflow itself: the server notices within a second.
        Registry(models).client.set_registered_model_alias(NAME, CHAMPION, before)
        wait_until(lambda: repository.output(*CALL, PASSENGER_EXAMPLE)[0]["model_version"] == before, 10)

    def test_ready_names_the_model(self, repository: RunningServer):
        answer = requests.get(f"{repository.url}/api/runs/health/ready", timeout=30)
        assert (answer.status_code, answer.json()["checks"]["/".join(CALL)]) == (200, "ok")

    def test_the_champion_serves_while_its_copy_is_gone_and_is_fetched_again(self, repository: RunningServer):
        path = repository.folder / "state" / "models" / "champion.json"
        path.unlink()
        assert repository.call(*CALL, PASSENGER_EXAMPLE).status_code == 200
        wait_until(path.exists, 10)


class TestSchemas:
    @pytest.mark.parametrize("block", CALLABLE_BLOCKS, ids=lambda block: block.block)
    def test_schema_of_a_block(self, repository: RunningServer, block):
        url = f"{repository.url}/api/runs/schema/{block.pipeline}/{block.block}"
        assert requests.get(url, timeout=30).json() == variables_schema(block)

    def test_what_the_schema_refuses_is_answered_422(self, repository: RunningServer):
        validator = jsonschema.Draft202012Validator(variables_schema(CALLABLE_BLOCKS[0]))
        for wrong in ({"age": 121}, {"pclass": 1.5}, {"sex": "x"}, {"fare": True}, {"cabin": "x" * 501}):
            assert not validator.is_valid(wrong)
            assert repository.call(*CALL, wrong).status_code == 422


@pytest.mark.parametrize(("pipeline", "status"), [("ml_training_and_inference", "200"), ("llm_inference", "409")])
def test_the_call_in_the_description_of_a_trigger_works(repository: RunningServer, pipeline: str, status: str):
    """No framework is built here, so the second call is understood and has no answer."""
    triggers = yaml.safe_load((REPO_PATH / "pipelines" / pipeline / "triggers.yaml").read_text())["triggers"]
    description = next(trigger["description"] for trigger in triggers if trigger["name"] == "inference")
    call = description[description.index("curl ") :].replace("http://127.0.0.1:6789", repository.url)
    command = shlex.split(call.replace("$TOKEN", repository.token(pipeline, "inference")))
    options = ["--silent", "--noproxy", "*", "--output", "-", "--write-out", "\n%{http_code}"]
    answer = subprocess.run([*command, *options], capture_output=True, text=True, check=True, timeout=60).stdout
    assert answer.splitlines()[-1] == status, answer


class TestAnyInput:
    @given(variables=PASSENGERS)
    @FUZZ
    def test_any_passenger(self, repository: RunningServer, variables: dict):
        check_answer(repository.call(*CALL, variables, record=False), repository, {200, 422})

    @given(variables=st.dictionaries(st.sampled_from(["about_me", "bio"]) | st.text(max_size=8), VALUES, max_size=3))
    @FUZZ
    def test_any_bio(self, repository: RunningServer, variables: dict):
        response = repository.call("llm_inference", "will_i_survive", variables, record=False)
        check_answer(response, repository, {409, 422})

    @given(run=st.dictionaries(st.sampled_from(["pipeline_uuid", "block_uuid", "variables", "record"]), VALUES))
    @FUZZ
    def test_any_run(self, repository: RunningServer, run: dict):
        check_answer(repository.post({"run": run}, repository.token(CALL[0])), repository, {400, 403, 404})

    @given(body=st.binary(max_size=300))
    @FUZZ
    def test_any_body(self, repository: RunningServer, body: bytes):
        check_answer(repository.post(body, repository.token(CALL[0])), repository, {400})

    @given(path=st.text(alphabet=st.characters(codec="utf-8"), max_size=30))
    @FUZZ
    def test_any_path(self, repository: RunningServer, path: str):
        url = f"{repository.url}/api/runs/x{requests.utils.quote(path, safe='')}"
        response = requests.post(url, data=b"{}", timeout=30)
        check_answer(response, repository, {400, 401, 404, 405})


# `503` is the readiness answer of a server without a model; the one here has one, so any 5xx is a fault.
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
    use_after_free,
)
document = schemathesis.openapi.from_dict(openapi_document(API_VERSION))


@document.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_schemathesis(case: Any, repository: RunningServer):
    """Whatever the document allows, and what it does not, is answered as the document says."""
    headers = {"Authorization": f"Bearer {repository.token(CALL[0])}"}
    if isinstance(case.body, dict) and isinstance(run := case.body.get("run"), dict):
        # The blocks above train models and refresh data: what they need is not here.
        case.body = {**case.body, "run": {**run, "run_upstream_blocks": False} if "run_upstream_blocks" in run else run}
    response = case.call(base_url=repository.url, headers=headers)
    case.validate_response(response, checks=CHECKS)
    assert "Traceback" not in response.text


def test_the_fuzzing_left_no_trace_of_a_token(repository: RunningServer):
    for (token,) in repository.rows("SELECT token FROM pipeline_schedule"):
        assert token not in repository.log
