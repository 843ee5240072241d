"""Client of Mage's HTTP API."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import requests

from workflows.common.errors import WorkflowError

Value = TypeVar("Value")

# The id of Mage's own front end. It is the same in every installation, so it is not a secret.
CLIENT_ID = "zkWlN0PkIKSN0C11CfUHUj84OT5XOJ6tDZ6bDRO2"
ENDED = ("completed", "failed", "cancelled")
DONE_BLOCKS = ("completed", "condition_failed")


class MageError(WorkflowError):
    """Mage rejected a request or did not respond."""


@dataclass(frozen=True)
class BlockRun:
    """The run of one block."""

    block: str
    status: str


@dataclass(frozen=True)
class PipelineRun:
    """A run of a pipeline; times are UTC."""

    id: int
    pipeline: str
    trigger: str
    is_scheduled: bool
    status: str
    created_at: datetime
    completed_at: datetime | None
    triggered_by: int | None
    variables: Mapping[str, Any]
    blocks: tuple[BlockRun, ...]

    @property
    def has_ended(self) -> bool:
        """Whether the run is completed, failed or cancelled."""
        return self.status in ENDED

    @property
    def blocks_done(self) -> int:
        """Number of blocks that completed or were skipped by a condition."""
        return sum(block.status in DONE_BLOCKS for block in self.blocks)

    def seconds(self, now: datetime) -> float:
        """Return the seconds from the creation of the run to its end, or to `now` if it has not ended."""
        return ((self.completed_at or now) - self.created_at).total_seconds()


class MageClient:
    """Client of one server.

    Every method raises MageError if Mage rejects the request or does not respond.

    Args:
        url: Base URL of the server.
        email: Email address of the user.
        password: Password of the user.
        timeout_seconds: Timeout of a request, except for `run_block`.
    """

    def __init__(self, url: str, email: str, password: str, timeout_seconds: float = 30):
        self.url = url
        self._login = {"email": email, "password": password}
        self._timeout = timeout_seconds
        self._session = requests.Session()
        self._session.headers["X-API-KEY"] = CLIENT_ID

    def sign_in(self) -> None:
        """Sign in with the email address and password."""
        self._session.cookies.clear()
        answer = self._call("POST", "sessions", json={"session": self._login, "api_key": CLIENT_ID})
        self._session.cookies.set("oauth_token", answer["session"]["token"])

    def triggers(self, pipeline: str) -> dict[str, int]:
        """Return the ids of a pipeline's triggers by name."""
        answer = self._call("GET", f"pipelines/{pipeline}/pipeline_schedules")
        return {trigger["name"]: trigger["id"] for trigger in answer["pipeline_schedules"]}

    def trigger(self, trigger_id: int, token: str, variables: Mapping[str, Any] | None = None) -> int:
        """Start a run through an API trigger and return its id."""
        # Without `create_block_runs: False`, Mage's API and its scheduler may both create block runs, and every block
        # runs twice.
        answer = self._call(
            "POST",
            f"pipeline_schedules/{trigger_id}/api_trigger",
            json={"pipeline_run": {"variables": dict(variables or {}), "create_block_runs": False}},
            headers={"Authorization": f"Bearer {token}"},
        )
        return int(answer["pipeline_run"]["id"])

    def runs(self, pipeline: str, limit: int = 30) -> list[PipelineRun]:
        """Return the newest runs of a pipeline, newest first, without refreshes of data products."""
        return self._runs(pipeline_uuid=pipeline, _limit=limit)

    def refreshes(self, data_product: str, limit: int = 30) -> list[PipelineRun]:
        """Return the newest runs that refreshed a global data product, newest first."""
        return self._runs(global_data_product_uuid=data_product, include_all_pipeline_schedules=True, _limit=limit)

    def run_block(
        self, pipeline: str, block: str, token: str, variables: Mapping[str, Any], timeout_seconds: float = 300
    ) -> Any:
        """Run one block with `POST /api/runs` and return its outputs."""
        answer = self._call(
            "POST",
            "runs",
            json={"run": {"pipeline_uuid": pipeline, "block_uuid": block, "variables": dict(variables)}},
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
        )
        return answer["run"]["output"]

    def _runs(self, **query: Any) -> list[PipelineRun]:
        answer = self._call("GET", "pipeline_runs", params=query)
        return sorted(map(_pipeline_run, answer["pipeline_runs"]), key=lambda run: run.id, reverse=True)

    def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        kwargs.setdefault("timeout", self._timeout)
        try:
            response = self._session.request(method, f"{self.url}/api/{path}", **kwargs)
            answer = response.json()
        except requests.exceptions.JSONDecodeError as error:
            raise MageError(f"{method} /api/{path} answered {response.status_code} without JSON") from error
        except requests.RequestException as error:
            raise MageError(f"{method} /api/{path} failed: {type(error).__name__}") from error
        if "error" in answer:
            problem = answer["error"]
            reason = problem.get("exception") or problem.get("message") or problem
            raise MageError(f"{method} /api/{path}: {reason}")
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


def _pipeline_run(data: Mapping[str, Any]) -> PipelineRun:
    variables = data.get("variables") or {}
    return PipelineRun(
        id=data["id"],
        pipeline=data["pipeline_uuid"],
        trigger=data.get("pipeline_schedule_name") or "",
        is_scheduled=data.get("pipeline_schedule_type") == "time",
        status=data["status"],
        created_at=_time(data["created_at"]),
        completed_at=_time(data["completed_at"]) if data.get("completed_at") else None,
        triggered_by=variables.get("triggered_by_run_id"),
        variables=variables,
        blocks=tuple(BlockRun(item["block_uuid"], item["status"]) for item in data.get("block_runs") or ()),
    )


def _time(text: str) -> datetime:
    """Parse a time in UTC; some of Mage's times have no time zone."""
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
