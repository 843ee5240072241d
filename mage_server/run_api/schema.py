"""The OpenAPI document and the JSON Schemas, made from the definitions that validate."""

import copy
from typing import Any

from mage_server.callable_blocks import CALLABLE_BLOCKS, CallableBlock
from mage_server.run_api.request import RUN_FIELDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
# Status, what it means, whether a call of a block may answer it.
_ERRORS = {
    "400": "Not JSON, not an object, or a field of the wrong type",
    "401": "No token, or one that no API trigger has",
    "403": "The token belongs to another pipeline, or its trigger is inactive",
    "404": "No such pipeline or block",
    "405": "Another method",
    "409": "Nothing is trained or built yet; the message names the pipeline to run",
    "413": "The body is over the limit",
    "422": "The block refuses its variables; `details` names every wrong field",
    "429": "Every worker is busy and the queue is full",
    "500": "The block failed; the reason is in the log under the request id",
    "502": "A service behind the block failed",
    "503": "The server stops, or its database cannot be reached",
    "504": "The block did not end in time",
}


def variables_schema(block: CallableBlock | None) -> dict[str, Any]:
    """Return the JSON Schema of a block's variables; any object where nothing is said of them."""
    body = copy.deepcopy(block.variables) if block else {"type": "object"}
    return {"$schema": DIALECT, **({"title": block.title, "examples": [block.example]} if block else {}), **body}


def registered(pipeline_uuid: str, block_uuid: str) -> CallableBlock | None:
    """Return what is said of a block, None where it is nothing."""
    return next((b for b in CALLABLE_BLOCKS if (b.pipeline, b.block) == (pipeline_uuid, block_uuid)), None)


def openapi(version: str, prefix: str = "") -> dict[str, Any]:
    """Return the OpenAPI document of the endpoint.

    Args:
        version: Of this document.
        prefix: Path that the server's addresses begin with.
    """
    call = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Call"}, "examples": _examples()}},
        },
        "responses": {
            "200": _json("The outputs of the block", "Outputs"),
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _ERRORS},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Call one block and get its answer", "version": version},
        "paths": {
            f"{prefix}/api/runs": {
                "post": {"operationId": "run_block", "summary": "Call a block", "security": [{"trigger": []}], **call}
            },
            f"{prefix}/api/runs/{{token}}": {
                "post": {
                    "operationId": "run_block_by_path",
                    "summary": "Call a block, with the token in the path",
                    "security": [],
                    "parameters": [_parameter("token")],
                    **copy.deepcopy(call),
                }
            },
            f"{prefix}/api/runs/schema/{{pipeline}}/{{block}}": {
                "get": {
                    "operationId": "block_schema",
                    "summary": "JSON Schema of a block's variables",
                    "security": [],
                    "parameters": [_parameter("pipeline"), _parameter("block")],
                    "responses": {
                        "200": {
                            "description": "JSON Schema",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        },
                        **_errors("400", "404", "405"),
                    },
                }
            },
            f"{prefix}/api/runs/openapi.json": _get("openapi_document", "This document", {"type": "object"}),
            f"{prefix}/api/runs/health/live": _get("live", "Whether the process answers", _health()),
            f"{prefix}/api/runs/health/ready": _get(
                "ready",
                "Whether the database is reachable and the model is loaded",
                _health(),
                {"503": {"description": "Not yet", "content": {"application/json": {"schema": _health()}}}},
            ),
        },
        "components": {
            "securitySchemes": {"trigger": {"type": "http", "scheme": "bearer"}},
            "responses": {status: _json(text, "Error", _headers(status)) for status, text in _ERRORS.items()},
            "schemas": {"Call": _call_schema(), "Outputs": _outputs_schema(), "Error": _error_schema()},
        },
    }


def _call_schema() -> dict[str, Any]:
    """The body: one shape for each block that something is said of, and one for all others."""
    known = []
    for block in CALLABLE_BLOCKS:
        fields = copy.deepcopy(RUN_FIELDS) | {
            "pipeline_uuid": {"const": block.pipeline},
            "block_uuid": {"const": block.block},
            "variables": copy.deepcopy(block.variables),
        }
        known.append({"title": block.title, **_run_object(fields, ["pipeline_uuid", "block_uuid", "variables"])})
    other = _run_object(copy.deepcopy(RUN_FIELDS), [name for name, rule in RUN_FIELDS.items() if "default" not in rule])
    run = {"anyOf": [*known, {"title": "Any other block", **other}]}
    return {"type": "object", "properties": {"run": run}, "required": ["run"]}


def _run_object(fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": required}


def _outputs_schema() -> dict[str, Any]:
    run = {"type": "object", "properties": {"output": {"type": "array"}}, "required": ["output"]}
    return {"type": "object", "properties": {"run": run}, "required": ["run"]}


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    detail = {"type": "object", "properties": {"field": text, "reason": text}, "required": ["field", "reason"]}
    fields = {
        "code": {"type": "integer"},
        "type": text,
        "message": text,
        "request_id": text,
        "details": {"type": "array", "items": detail},
    }
    error = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {"type": "object", "properties": {"error": error}, "required": ["error"], "additionalProperties": False}


def _health() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "status": {"enum": ["ok", "not_ready"]},
            "checks": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["status", "checks"],
    }


def _examples() -> dict[str, Any]:
    return {
        block.block: {
            "value": {
                "run": {"pipeline_uuid": block.pipeline, "block_uuid": block.block, "variables": dict(block.example)}
            }
        }
        for block in CALLABLE_BLOCKS
    }


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": dict(_NAME)}


def _json(text: str, schema: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": text, "content": content, **({"headers": headers} if headers else {})}


def _headers(status: str) -> dict[str, Any]:
    names = {"401": "WWW-Authenticate", "405": "Allow", "429": "Retry-After", "503": "Retry-After"}
    return {names[status]: {"schema": {"type": "string"}}} if status in names else {}


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _get(name: str, summary: str, schema: dict[str, Any], further: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = {"description": summary, "content": {"application/json": {"schema": schema}}}
    responses = {"200": answer, **_errors("405"), **(further or {})}
    return {"get": {"operationId": name, "summary": summary, "security": [], "responses": responses}}
