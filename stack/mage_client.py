"""Client of Mage's HTTP API: what needs no user, only the token of a trigger."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import requests

from stack.mage_database import PipelineRun, Trigger
from workflows.common.errors import WorkflowError

Value = TypeVar("Value")

# The id of Mage's own front end. It is the same in every installation, so it is not a secret.
CLIENT_ID = "zkWlN0PkIKSN0C11CfUHUj84OT5XOJ6tDZ6bDRO2"


class MageError(WorkflowError):
    """Mage rejected a request or did not respond."""


class MageClient:
    """Client of one server.

    Every method raises MageError if Mage rejects the request or does not respond.

    Args:
        url: Base URL of the server, on this machine.
        timeout_seconds: Timeout of a request, except for `run_block`.
    """

    def __init__(self, url: str, timeout_seconds: float = 30):
        self.url = url
        self._timeout = timeout_seconds
        self._session = requests.Session()
        # A proxy that the environment names cannot reach this machine.
        self._session.trust_env = False

    def trigger(self, trigger: Trigger, variables: Mapping[str, Any] | None = None) -> int:
        """Start a run through an API trigger and return its id."""
        # Without `create_block_runs: False`, Mage's API and its scheduler may both create block runs, and every block
        # runs twice.
        answer = self._post(
            f"pipeline_schedules/{trigger.id}/api_trigger",
            {"pipeline_run": {"variables": dict(variables or {}), "create_block_runs": False}},
            trigger,
        )
        return int(answer["pipeline_run"]["id"])

    def run_block(
        self, pipeline: str, block: str, trigger: Trigger, variables: Mapping[str, Any], timeout_seconds: float = 300
    ) -> Any:
        """Run one block with `POST /api/runs` and return its outputs."""
        body = {"run": {"pipeline_uuid": pipeline, "block_uuid": block, "variables": dict(variables)}}
        return self._post("runs", body, trigger, timeout_seconds)["run"]["output"]

    def _post(self, path: str, body: Mapping[str, Any], trigger: Trigger, timeout_seconds: float | None = None) -> Any:
        headers = {"Authorization": f"Bearer {trigger.token}", "X-API-KEY": CLIENT_ID}
        timeout = timeout_seconds or self._timeout
        try:
            response = self._session.post(f"{self.url}/api/{path}", json=body, headers=headers, timeout=timeout)
            answer = response.json()
        except requests.exceptions.JSONDecodeError as error:
            raise MageError(f"POST /api/{path} answered {response.status_code} without JSON") from error
        except requests.RequestException as error:
            raise MageError(f"POST /api/{path} failed: {type(error).__name__}") from error
        if "error" in answer:
            problem = answer["error"]
            reason = problem.get("exception") or problem.get("message") or problem
            raise MageError(f"POST /api/{path}: {reason}")
        return answer


def wait_until(condition: Callable[[], Value], timeout_seconds: float, poll_seconds: float = 0.5) -> Value:
    """Call `condition` until it returns a true value, and return this value.

    Raises:
        TimeoutError: it did not return a true value in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(poll_seconds)
    raise TimeoutError(f"The condition was not met within {timeout_seconds:.0f} s")


def children(runs: Iterable[PipelineRun], parent: PipelineRun) -> list[PipelineRun]:
    """Return the runs that were started by a run."""
    return [run for run in runs if run.triggered_by == parent.id]
