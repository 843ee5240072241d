"""The body of a call: one table of its fields validates it and describes it in the OpenAPI document."""

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from mage_server.run_api.http_errors import ApiError, bad_request, invalid_variables

MAX_DEPTH = 64
MAX_NAME_LENGTH = 255
# Mage would load the outputs of any pipeline's blocks for a caller who sends this name.
REFUSED_VARIABLES = ("remote_blocks",)


@dataclass(frozen=True)
class RunRequest:
    """A call of one block."""

    pipeline_uuid: str
    block_uuid: str
    variables: dict[str, Any]
    record: bool
    store_variables: bool
    run_upstream_blocks: bool
    incomplete_only: bool


# JSON Schema of each field of `run`; those with a default may be left out.
RUN_FIELDS: dict[str, dict[str, Any]] = {
    "pipeline_uuid": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
    "block_uuid": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
    "variables": {
        "type": "object",
        "default": {},
        "description": "What the block's function receives as keyword arguments; "
        f"{', '.join(REFUSED_VARIABLES)} is refused.",
    },
    "record": {"type": "boolean", "default": True, "description": "Keep the call as a run with its log."},
    "store_variables": {
        "type": "boolean",
        "default": True,
        "description": "Keep the block's outputs with the recorded run; without `record` nothing is kept.",
    },
    "run_upstream_blocks": {"type": "boolean", "default": False, "description": "Run the blocks above it first."},
    "incomplete_only": {
        "type": "boolean",
        "default": False,
        "description": "With `run_upstream_blocks`: only those that have not completed.",
    },
}
_TYPES: dict[str, type] = {"string": str, "object": dict, "boolean": bool}


def parse_body(body: bytes) -> RunRequest:
    """Read the body of a call.

    Raises:
        ApiError: 400 names every wrong field, 422 a variable that no block may receive.
    """
    payload = _load(body)
    if not isinstance(payload, dict):
        raise bad_request("The body must be a JSON object")
    run = payload.get("run")
    if not isinstance(run, dict):
        reason = "is missing" if "run" not in payload else "must be an object"
        raise bad_request('The body must look like {"run": {...}}', {"run": reason})
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, schema in RUN_FIELDS.items():
        if name not in run and "default" in schema:
            values[name] = {} if schema["type"] == "object" else schema["default"]
        elif problem := _problem(run, name, schema):
            problems[f"run.{name}"] = problem
        else:
            values[name] = run[name]
    if run.get("project") is not None:
        problems["run.project"] = "is not supported: this server serves one project"
    if problems:
        raise bad_request("The body has wrong fields", problems)
    refused = {f"variables.{name}": "is not allowed" for name in REFUSED_VARIABLES if name in values["variables"]}
    if refused:
        raise invalid_variables("The variables were refused", refused)
    return RunRequest(**values)


def _problem(run: dict[str, Any], name: str, schema: dict[str, Any]) -> str | None:
    if name not in run:
        return "is missing"
    value = run[name]
    if not isinstance(value, _TYPES[schema["type"]]):
        return f"must be of type {schema['type']}"
    if isinstance(value, str) and not schema["minLength"] <= len(value) <= schema["maxLength"]:
        return f"must have {schema['minLength']} to {schema['maxLength']} characters"
    return None


def _load(body: bytes) -> Any:
    try:
        # The standard library would guess UTF-16 and UTF-32 too.
        payload = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise bad_request("The body is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        # Not JSON, not a finite number, or a whole number of thousands of digits.
        raise bad_request("The body is not valid JSON") from None
    _check(payload)
    return payload


def _check(payload: Any) -> None:
    """Refuse what is JSON but would break whoever writes it again: deep nesting, halves of characters."""
    level: list[Any] = [payload]
    for _ in range(MAX_DEPTH):
        if not level:
            return
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                for key in value:
                    _check_text(key)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = below
    if level:
        raise _too_deep()


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise bad_request("The body holds a surrogate that is not part of a pair") from None


def _too_deep() -> ApiError:
    return bad_request(f"The body is nested deeper than {MAX_DEPTH} levels")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number
