"""Mage's HTTP API, as a service or a person with curl uses it."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

# The id of Mage's own front end, the same in every installation: no secret.
CLIENT_ID = "zkWlN0PkIKSN0C11CfUHUj84OT5XOJ6tDZ6bDRO2"
ENDED = ("completed", "failed", "cancelled")
DONE_BLOCKS = ("completed", "condition_failed")


class MageError(Exception):
    """Mage refused a call or did not answer."""


@dataclass(frozen=True)
class BlockRun:
    """One block of a run."""

    block: str
    status: str


@dataclass(frozen=True)
class PipelineRun:
    """One run of a pipeline; times are UTC."""

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
        """Whether nothing of it will run any more."""
        return self.status in ENDED

    @property
    def blocks_done(self) -> int:
        """Blocks that completed or that a condition left out."""
        return sum(block.status in DONE_BLOCKS for block in self.blocks)

    def seconds(self, now: datetime) -> float:
        """Time from its creation to its end, or to `now`."""
        return ((self.completed_at or now) - self.created_at).total_seconds()


class MageClient:
    """A signed-in client of one server.

    Args:
        url: Base address.
        email: Login.
        password: Its password.
        timeout_seconds: Time limit of a request; single-block calls have their own.
    """

    def __init__(self, url: str, email: str, password: str, timeout_seconds: float = 30):
        self.url = url
        self._login = {"email": email, "password": password}
        self._timeout = timeout_seconds
        self._session = requests.Session()
        self._session.headers["X-API-KEY"] = CLIENT_ID

    def sign_in(self) -> None:
        """Sign in as the user given at construction.

        Raises:
            MageError: refused, or the server is not ready for it yet.
        """
        self._session.cookies.clear()
        answer = self._call("POST", "sessions", json={"session": self._login, "api_key": CLIENT_ID})
        self._session.cookies.set("oauth_token", answer["session"]["token"])

    def triggers(self, pipeline: str) -> dict[str, int]:
        """Return the ids of a pipeline's triggers by name."""
        answer = self._call("GET", f"pipelines/{pipeline}/pipeline_schedules")
        return {trigger["name"]: trigger["id"] for trigger in answer["pipeline_schedules"]}

    def trigger(self, trigger_id: int, token: str, variables: Mapping[str, Any] | None = None) -> int:
        """Start a run through an API trigger and return its id.

        The scheduler makes its block runs: where Mage's API makes them while the scheduler looks, both do,
        and every block runs twice.
        """
        answer = self._call(
            "POST",
            f"pipeline_schedules/{trigger_id}/api_trigger",
            json={"pipeline_run": {"variables": dict(variables or {}), "create_block_runs": False}},
            headers={"Authorization": f"Bearer {token}"},
        )
        return int(answer["pipeline_run"]["id"])

    def runs(self, pipeline: str, limit: int = 30) -> list[PipelineRun]:
        """Return the newest runs of a pipeline, newest first; refreshes of data products are not among them."""
        return self._runs(pipeline_uuid=pipeline, _limit=limit)

    def refreshes(self, data_product: str, limit: int = 30) -> list[PipelineRun]:
        """Return the newest runs that refreshed a global data product, newest first."""
        return self._runs(global_data_product_uuid=data_product, include_all_pipeline_schedules=True, _limit=limit)

    def run_block(
        self, pipeline: str, block: str, token: str, variables: Mapping[str, Any], timeout_seconds: float = 300
    ) -> Any:
        """Call one block over `POST /api/runs` and return its output.

        Raises:
            MageError: the call failed; the message is the server's.
        """
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


def wait_until(condition: Any, timeout_seconds: float, poll_seconds: float = 0.5) -> Any:
    """Return the first true value of `condition()`.

    Raises:
        TimeoutError: there was none in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(poll_seconds)
    raise TimeoutError(f"not within {timeout_seconds:.0f} s")


def children(runs: Iterable[PipelineRun], parent: PipelineRun) -> list[PipelineRun]:
    """Return the runs that a run has started."""
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
    """Mage writes UTC, with or without saying so."""
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
