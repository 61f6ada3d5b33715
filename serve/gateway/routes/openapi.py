"""What `/openapi.json` says of the endpoints whose bodies are read by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alpharay.serve.gateway.parse import Controls

Json = dict[str, Any]

# Only what is read here or must be there; every other field goes to vLLM as it came.
_COMMON: Json = {
    "model": {"type": "string"},
    "seed": {"type": "integer"},
    "temperature": {"type": "number"},
    "stream": {"type": "boolean"},
    "alpharay": Controls.model_json_schema(),
}

_STATUSES = {
    400: "Malformed, or asks for what cannot be",
    401: "No API key, or an unknown one",
    403: "A foreign web page, or a name that the server does not answer to",
    404: "The model is not served here",
    408: "The body did not arrive in time",
    413: "Too large",
    415: "The body is no application/json, or in an unknown encoding",
    429: "A limit of the API key; see Retry-After",
    500: "A fault of the server",
    503: "No capacity now; see Retry-After",
}


def endpoint(summary: str, required: Sequence[str], fields: Json) -> Json:
    """FastAPI's arguments that describe an endpoint. fields: the JSON schemas of its own fields."""
    schema = {
        "type": "object",
        "required": list(required),
        "properties": _COMMON | fields,
        "additionalProperties": True,
    }
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    streamed: Json = {"description": "The answer; as server-sent events with `stream`"}
    streamed["content"] = {"application/json": {}, "text/event-stream": {}}
    return {
        "summary": summary,
        "openapi_extra": {"requestBody": body},
        "responses": {200: streamed} | {status: {"description": text} for status, text in _STATUSES.items()},
    }
