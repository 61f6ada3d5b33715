"""What `/openapi.json` says of the endpoints whose bodies are read by hand."""

from __future__ import annotations

from typing import Any

from alpharay.serve.gateway.controls import Controls

Json = dict[str, Any]

_OBJECTS = {"type": "array", "items": {"type": "object"}}
_TEXT_OR_OBJECTS = {"anyOf": [{"type": "string"}, _OBJECTS]}

# Only what is read here or must be there; every other field goes to vLLM as it came.
_COMMON: Json = {
    "model": {"type": "string"},
    "seed": {"type": "integer"},
    "temperature": {"type": "number"},
    "stream": {"type": "boolean"},
    "alpharay": Controls.model_json_schema(),
}
_CHOICES: Json = {
    "n": {"type": "integer", "minimum": 1},
    "best_of": {"type": "integer", "minimum": 1},
    "max_tokens": {"type": "integer"},
    "stream_options": {"type": "object"},
}
_ENDPOINTS: dict[str, tuple[str, list[str], Json]] = {
    "chat": (
        "Chat completions, by the ensemble or a pinned member",
        ["messages"],
        _CHOICES | {"messages": {**_OBJECTS, "minItems": 1}, "tools": _OBJECTS},
    ),
    "completions": (
        "Completions of a text, by the ensemble or a pinned member",
        ["prompt"],
        _CHOICES
        | {"prompt": {"anyOf": [{"type": "string"}, {"type": "array"}]}, "suffix": {"type": "string"}},
    ),
    "responses": (
        "Responses, by the ensemble or a pinned member; nothing is stored",
        ["input"],
        {
            "input": _TEXT_OR_OBJECTS,
            "instructions": {"type": "string"},
            "max_output_tokens": {"type": "integer"},
            "tools": _OBJECTS,
        },
    ),
    "messages": (
        "Anthropic's Messages, by the ensemble or a pinned member",
        ["messages", "max_tokens"],
        {
            "messages": {**_OBJECTS, "minItems": 1},
            "system": _TEXT_OR_OBJECTS,
            "max_tokens": {"type": "integer", "minimum": 1},
            "tools": _OBJECTS,
        },
    ),
    "tokenize": (
        "The tokens of a prompt or a conversation, as vLLM's endpoint",
        [],
        {"prompt": {"type": "string"}, "messages": _OBJECTS, "add_special_tokens": {"type": "boolean"}},
    ),
    "detokenize": (
        "The text of tokens, as vLLM's endpoint",
        ["tokens"],
        {"tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}}},
    ),
    "count_tokens": ("", ["messages"], {"messages": {**_OBJECTS, "minItems": 1}, "system": _TEXT_OR_OBJECTS}),
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


def endpoint(name: str) -> Json:
    """FastAPI's arguments that describe that dialect's endpoint."""
    summary, required, own = _ENDPOINTS[name]
    schema = {
        "type": "object",
        "required": required,
        "properties": _COMMON | own,
        "additionalProperties": True,
    }
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    streamed: Json = {"description": "The answer; as server-sent events with `stream`"}
    streamed["content"] = {"application/json": {}, "text/event-stream": {}}
    told: Json = {"summary": summary} if summary else {}
    return told | {
        "openapi_extra": {"requestBody": body},
        "responses": {200: streamed} | {status: {"description": text} for status, text in _STATUSES.items()},
    }
