"""The OpenAPI document and the JSON Schemas, generated from the definitions that validate calls."""

import copy
from typing import Any

from mage_server.callable_blocks import CALLABLE_BLOCKS, CallableBlock
from mage_server.run_api.request import MAX_NAME_LENGTH, RUN_FIELDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ERRORS = {
    "400": "The body is not JSON, not an object, or has fields of the wrong type",
    "401": "The token is missing or belongs to no API trigger",
    "403": "The token belongs to another pipeline, or its trigger is inactive",
    "404": "The pipeline or block does not exist",
    "405": "The method is not allowed",
    "409": "A model or framework does not exist yet; the message names the pipeline to run",
    "413": "The body is larger than the limit",
    "422": "Variables are invalid; `details` names every invalid field",
    "429": "All workers are busy and the queue is full",
    "500": "The block failed; the server's log has the reason under the request id",
    "502": "A service used by the block failed",
    "503": "The server is shutting down, or its database is unreachable",
    "504": "The block did not finish within the time limit",
}


def variables_schema(block: CallableBlock | None) -> dict[str, Any]:
    """Return the JSON Schema of a block's variables; None, for an undocumented block, gives any object."""
    body = copy.deepcopy(block.variables) if block else {"type": "object"}
    return {"$schema": DIALECT, **({"title": block.title, "examples": [block.example]} if block else {}), **body}


def find_callable_block(pipeline_uuid: str, block_uuid: str) -> CallableBlock | None:
    """Return the documented block with these UUIDs, or None."""
    return next((b for b in CALLABLE_BLOCKS if (b.pipeline, b.block) == (pipeline_uuid, block_uuid)), None)


def openapi_document(version: str, prefix: str = "") -> dict[str, Any]:
    """Return the OpenAPI document of the endpoint.

    Args:
        version: Version of the API.
        prefix: Path before `/api/runs`, without a slash at its end.
    """
    call = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Call"}, "examples": _examples()}},
        },
        "responses": {
            "200": _json_response("The outputs of the block", "Outputs"),
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _ERRORS},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Run one block and return its outputs", "version": version},
        "paths": {
            f"{prefix}/api/runs": {
                "post": {"operationId": "run_block", "summary": "Run a block", "security": [{"trigger": []}], **call}
            },
            f"{prefix}/api/runs/{{token}}": {
                "post": {
                    "operationId": "run_block_by_path",
                    "summary": "Run a block, with the token in the path",
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
            f"{prefix}/api/runs/health/live": _get("live", "Whether the server responds", _health_schema()),
            f"{prefix}/api/runs/health/ready": _get(
                "ready",
                "Whether the database is reachable and the model is loaded",
                _health_schema(),
                {"503": {"description": "Not ready", "content": {"application/json": {"schema": _health_schema()}}}},
            ),
        },
        "components": {
            "securitySchemes": {"trigger": {"type": "http", "scheme": "bearer"}},
            "responses": {status: _json_response(text, "Error", _headers(status)) for status, text in _ERRORS.items()},
            "schemas": {"Call": _call_schema(), "Outputs": _outputs_schema(), "Error": _error_schema()},
        },
    }


def _call_schema() -> dict[str, Any]:
    """Return the schema of a call: one alternative for each documented block, and one for all other blocks."""
    documented = []
    for block in CALLABLE_BLOCKS:
        fields = copy.deepcopy(RUN_FIELDS) | {
            "pipeline_uuid": {"const": block.pipeline},
            "block_uuid": {"const": block.block},
            "variables": copy.deepcopy(block.variables),
        }
        documented.append({"title": block.title, **_run_object(fields, ["pipeline_uuid", "block_uuid", "variables"])})
    other = _run_object(copy.deepcopy(RUN_FIELDS), [name for name, rule in RUN_FIELDS.items() if "default" not in rule])
    run = {"anyOf": [*documented, {"title": "Any other block", **other}]}
    return {"type": "object", "properties": {"run": run}, "required": ["run"]}


def _run_object(fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _outputs_schema() -> dict[str, Any]:
    ignored = {"type": "array", "items": {"type": "string"}, "description": "Variables that the block does not know."}
    run = {
        "type": "object",
        "properties": {"output": {"type": "array"}, "ignored": ignored},
        "required": ["output"],
    }
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


def _health_schema() -> dict[str, Any]:
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
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
    }


def _json_response(text: str, schema: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": text, "content": content, **({"headers": headers} if headers else {})}


def _headers(status: str) -> dict[str, Any]:
    names = {"401": "WWW-Authenticate", "405": "Allow", "429": "Retry-After", "503": "Retry-After"}
    return {names[status]: {"schema": {"type": "string"}}} if status in names else {}


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _get(name: str, summary: str, schema: dict[str, Any], others: dict[str, Any] | None = None) -> dict[str, Any]:
    success = {"description": summary, "content": {"application/json": {"schema": schema}}}
    responses = {"200": success, **_errors("405"), **(others or {})}
    return {"get": {"operationId": name, "summary": summary, "security": [], "responses": responses}}
