"""Parse and validate the body of a call. `RUN_FIELDS` also describes the fields in the OpenAPI document."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from mage_server.run_api.http_errors import ApiError, bad_request, invalid_variables
from workflows.common.parsing import has_nul, strict_json

MAX_DEPTH = 64
MAX_NAME_LENGTH = 255
MAX_NAMES_LISTED = 10
# With this variable, Mage would load the outputs of any pipeline's blocks for the caller.
FORBIDDEN_VARIABLES = ("remote_blocks",)


@dataclass(frozen=True)
class RunRequest:
    """A call of one block; `RUN_FIELDS` describes the attributes."""

    pipeline_uuid: str
    block_uuid: str
    variables: dict[str, Any]
    record: bool
    store_variables: bool
    run_upstream_blocks: bool
    incomplete_only: bool


# JSON Schema of each field of `run`; fields with a default are optional.
RUN_FIELDS: dict[str, dict[str, Any]] = {
    "pipeline_uuid": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
    "block_uuid": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
    "variables": {
        "type": "object",
        "default": {},
        "description": "Keyword arguments of the block's function; "
        f"the name {', '.join(FORBIDDEN_VARIABLES)} is not allowed.",
    },
    "record": {"type": "boolean", "default": True, "description": "Record the call as a run with its log."},
    "store_variables": {
        "type": "boolean",
        "default": True,
        "description": "Store the block's outputs with the recorded run; has no effect without `record`.",
    },
    "run_upstream_blocks": {"type": "boolean", "default": False, "description": "Run the upstream blocks first."},
    "incomplete_only": {
        "type": "boolean",
        "default": False,
        "description": "With `run_upstream_blocks`: run only the upstream blocks that have not completed.",
    },
}
_TYPES: dict[str, type] = {"string": str, "object": dict, "boolean": bool}


def parse_body(body: bytes) -> RunRequest:
    """Parse the body of a call.

    Raises:
        ApiError: 400, the body is not valid; `fields` names every invalid field. 422, a variable is not allowed.
    """
    payload = _parse_json(body)
    if not isinstance(payload, dict):
        raise bad_request("The body must be a JSON object")
    run = payload.get("run")
    if not isinstance(run, dict):
        reason = "is missing" if "run" not in payload else "must be an object"
        raise bad_request('The body must have the form {"run": {...}}', {"run": reason})
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, schema in RUN_FIELDS.items():
        if name not in run and "default" in schema:
            values[name] = {} if schema["type"] == "object" else schema["default"]
        elif problem := _field_problem(run, name, schema):
            problems[f"run.{name}"] = problem
        else:
            values[name] = run[name]
    if run.get("project") is not None:
        problems["run.project"] = "is not supported: this server has only one project"
    for name in [name for name in run if name not in (*RUN_FIELDS, "project")][:MAX_NAMES_LISTED]:
        nearest = get_close_matches(name, RUN_FIELDS, n=1)
        problems[f"run.{name[:MAX_NAME_LENGTH]}"] = f"is unknown{f'; did you mean {nearest[0]}?' if nearest else ''}"
    if problems:
        raise bad_request("Fields of the body are invalid", problems)
    forbidden = {f"variables.{name}": "is not allowed" for name in FORBIDDEN_VARIABLES if name in values["variables"]}
    # JSON has no other way to write this character, so that most calls are not searched.
    if b"\\u0000" in body:
        forbidden |= _variables_with_nul(values["variables"])
    if forbidden:
        raise invalid_variables("Variables are invalid", forbidden)
    return RunRequest(**values)


def _variables_with_nul(variables: dict[str, Any]) -> dict[str, str]:
    """Return the variables that hold the character NUL, which databases and C libraries take for the end of a text."""
    reason = "contains the character NUL"
    names = [name for name, value in variables.items() if has_nul(name) or has_nul(value)]
    return {f"variables.{name[:MAX_NAME_LENGTH]}": reason for name in names[:MAX_NAMES_LISTED]}


def _field_problem(run: dict[str, Any], name: str, schema: dict[str, Any]) -> str | None:
    if name not in run:
        return "is missing"
    value = run[name]
    if not isinstance(value, _TYPES[schema["type"]]):
        return f"must be of type {schema['type']}"
    if isinstance(value, str) and not schema["minLength"] <= len(value) <= schema["maxLength"]:
        return f"must have {schema['minLength']} to {schema['maxLength']} characters"
    return None


def _parse_json(body: bytes) -> Any:
    try:
        # Given bytes, the json module would also accept UTF-16 and UTF-32.
        payload = strict_json(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise bad_request("The body is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        # Not JSON, a number that is not finite, or an integer with thousands of digits.
        raise bad_request("The body is not valid JSON") from None
    _check_can_be_serialised(payload)
    return payload


def _check_can_be_serialised(payload: Any) -> None:
    """Reject valid JSON that fails when it is written again: deep nesting and unpaired surrogates."""
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
            raise bad_request("The body contains an unpaired surrogate") from None


def _too_deep() -> ApiError:
    return bad_request(f"The body is nested deeper than {MAX_DEPTH} levels")
