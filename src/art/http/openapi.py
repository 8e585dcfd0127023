"""The server's description in OpenAPI's form: routes, bodies as they are checked, and every status that may come back.

`python -m art.http.openapi` prints it; `docs/reference/openapi.json` holds it. It is not served: nobody needs to ask.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel

from art.http.protocol import ChatRequest
from art.http.responses import ResponseBody
from art.http.text_completion import TextRequest

Json = dict[str, Any]
BODIES: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": TextRequest,
    "/v1/responses": ResponseBody,
}
STATUSES = {
    400: "A field is missing, unknown or out of bounds; `param` names it.",
    401: "The key is missing or wrong.",
    403: "The Host header names another server, or a web page of another site asks.",
    404: "There is no such model.",
    405: "The route has another method.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    415: "The body is not sent as JSON.",
    429: "Too much waits already; `Retry-After` says when to come again.",
    500: "The weights gave no finite number for this request.",
}
READING = (401, 403, 404, 405)
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def description() -> Json:
    """Give the whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "artfork's inference server",
            "version": "1",
            "description": "OpenAI's protocols over one model.",
        },
        "security": [{"key": []}],
        "paths": {
            **{path: {"post": _asking(kind)} for path, kind in BODIES.items()},
            "/v1/models": {"get": _reading("The models that are served.")},
            "/v1/models/{name}": {"get": {**_reading("One of them."), "parameters": [_named()]}},
            "/health": {"get": {**_reading("What runs and what waits."), "security": []}},
            "/metrics": {"get": {**_reading("The same as Prometheus reads it.", media="text/plain"), "security": []}},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": ERROR, **_schemas()},
        },
    }


def _schemas() -> Json:
    """Give the bodies and their parts, each once."""
    schemas: Json = {}
    for kind in BODIES.values():
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[kind.__name__] = schema
    return schemas


def _asking(kind: type[BaseModel]) -> Json:
    body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}
    whole = {
        "description": "The answer, whole, or with `stream` in events.",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {}}},
    }
    responses = {"200": whole, **_refusals(STATUSES)}
    return {"requestBody": {"required": True, "content": body}, "responses": responses}


def _reading(what: str, *, media: str = "application/json") -> Json:
    schema: Json = {"type": "object"} if media == "application/json" else {"type": "string"}
    return {"responses": {"200": {"description": what, "content": {media: {"schema": schema}}}, **_refusals(READING)}}


def _refusals(statuses: Any) -> Json:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": STATUSES[status], "content": content} for status in statuses}


def _named() -> Json:
    return {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(description(), indent=2) + "\n")
