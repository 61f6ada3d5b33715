"""Anthropic's token counting: any member's engine knows, since all share one tokenizer."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import Response

from alpharay.serve.dialects import messages
from alpharay.serve.dialects.dialect import OURS, for_the_engine, typed, with_own
from alpharay.serve.dialects.messages_input import tidied
from alpharay.serve.ensemble import refused
from alpharay.serve.errors import no_capacity
from alpharay.serve.frontier import find_member
from alpharay.serve.links import SampleLost
from alpharay.serve.server import Server

COUNT_PATH = f"{messages.PATH}/count_tokens"


async def count_tokens(server: Server, body: dict[str, Any]) -> Response:
    """Raises RequestError: 404 for a model that is not served, the engine's own refusal, or 503."""
    wanted = typed(body, "model", str) or server.config.name
    named = find_member(server.members, wanted) if "@" in wanted else None
    if named is None and wanted != server.config.name:
        raise server.unknown_model(wanted)
    fields, _ = tidied({key: value for key, value in body.items() if key not in OURS})
    rest = for_the_engine(fields)
    for member in [named] if named else server.members:
        try:
            sent = with_own(rest, {"model": member.name})
            reply = await server.engines.sample(member.name, COUNT_PATH, sent, {})
        except SampleLost:
            continue
        if reply.status != 200:
            raise refused(reply.status, reply.body)
        return Response(json.dumps(json.loads(reply.body)), media_type="application/json")
    raise no_capacity("no member's engine can answer now")
