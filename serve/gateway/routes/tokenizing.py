"""vLLM's `/tokenize` and `/detokenize`: any member's engine knows, since all share one tokenizer."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import Response

from alpharay.serve.dialects.api_request import OURS, EngineBody, for_the_engine, typed
from alpharay.serve.dialects.refusals import refused
from alpharay.serve.errors import no_capacity
from alpharay.serve.gateway.routes.openapi import endpoint
from alpharay.serve.gateway.server import Server
from alpharay.serve.state.members import find_member, unknown_model
from alpharay.serve.transport.clients import SampleLost

ENDPOINTS = {
    "/tokenize": endpoint(
        "The tokens of a prompt or a conversation, as vLLM's endpoint",
        [],
        {
            "prompt": {"type": "string"},
            "messages": {"type": "array", "items": {"type": "object"}},
            "add_special_tokens": {"type": "boolean"},
        },
    ),
    "/detokenize": endpoint(
        "The text of tokens, as vLLM's endpoint",
        ["tokens"],
        {"tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}}},
    ),
}


async def tokenized(server: Server, path: str, body: dict[str, Any]) -> Response:
    """Raises RequestError: as `any_engine`."""
    return await any_engine(
        server, path, body, {key: value for key, value in body.items() if key not in OURS}
    )


async def any_engine(server: Server, path: str, body: dict[str, Any], fields: dict[str, Any]) -> Response:
    """What the named model's engine answers to those fields, or for the ensemble any engine that can.

    Raises RequestError: 404 for a model that is not served, the engine's own refusal, or 503.
    """
    wanted = typed(body, "model", str) or server.config.name
    named = find_member(server.members, wanted) if "@" in wanted else None
    if named is None and wanted != server.config.name:
        raise unknown_model(wanted, server.config.name, server.members)
    rest = for_the_engine(fields)
    for member in [named] if named else server.members:
        try:
            reply = await server.engines.sample(
                member.name, path, EngineBody(rest, {"model": member.name}), {}
            )
        except SampleLost:
            continue
        if reply.status != 200:
            raise refused(reply.status, reply.body)
        return Response(json.dumps(json.loads(reply.body)), media_type="application/json")
    raise no_capacity("no member's engine can answer now")
