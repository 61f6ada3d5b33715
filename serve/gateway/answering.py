"""A request from its body to its whole answer, whether it came over HTTP or in a batch's file."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import replace

from alpharay.serve.dialects.api_request import Json, salted
from alpharay.serve.dialects.dialect import Dialect
from alpharay.serve.gateway.admission import RequestContext
from alpharay.serve.gateway.direct import WholeAnswer
from alpharay.serve.gateway.http.body import apart
from alpharay.serve.gateway.parse import parse_request
from alpharay.serve.gateway.selected import selected
from alpharay.serve.gateway.server import Server
from alpharay.serve.sampling.request import ParsedRequest


async def parsed(
    server: Server, context: RequestContext, dialect: Dialect, body: Json, headers: Mapping[str, str]
) -> ParsedRequest:
    """The request in the name of the context's key. headers: with lower-case names. Raises RequestError."""
    request = await apart(context.body, dialect.read, body)
    key = context.lease.key if context.lease else None
    if key is not None:
        request = salted(request, key.cache_salt)
    context.answer = uuid.uuid4().hex
    own_seed = secrets.randbits(62)
    parsed = parse_request(server.served, dialect, request, headers, context.answer, own_seed, key)
    context.trace.set_attributes(request_attributes(parsed))
    return replace(parsed, trace=context.trace)


def charge(server: Server, context: RequestContext, asked: ParsedRequest) -> None:
    """Reserves the samples that it may draw. Raises RequestError (429)."""
    if context.lease is not None:
        server.admission.charge(context.lease, asked.samples)


def request_attributes(asked: ParsedRequest) -> Json:
    """What a trace says of a request, by the names of OpenTelemetry's conventions."""
    body = asked.request.body
    numbers = {
        f"gen_ai.request.{name}": body.get(name)
        for name in ("temperature", "top_p", "max_tokens")
        if isinstance(body.get(name), int | float)
    }
    return numbers | {
        "gen_ai.request.model": asked.model,
        "gen_ai.request.seed": asked.request.seed,
        "gen_ai.request.stream": asked.request.stream,
        "gen_ai.request.choice.count": asked.request.choices if asked.request.choices > 1 else None,
        "gen_ai.response.id": f"{asked.dialect.ID}{asked.request_id}",
        "alpharay.budget": asked.requested_budget or None,
        "alpharay.policy": asked.policy,
        "alpharay.selector": asked.sampling.selector,
    }


async def whole(server: Server, context: RequestContext, asked: ParsedRequest) -> Json:
    """The answer to a request that is not streamed. Raises RequestError."""
    if asked.direct:
        context.draws_directly(asked.samples)
        return await WholeAnswer(server, asked).answer()
    return await selected(server, asked, context)
