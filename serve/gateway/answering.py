"""A request from its body to its whole answer, whether it came over HTTP or in a batch's file."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping

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
    return parse_request(server.served, dialect, request, headers, context.answer, own_seed, key)


def charge(server: Server, context: RequestContext, asked: ParsedRequest) -> None:
    """Reserves the samples that it may draw. Raises RequestError (429)."""
    if context.lease is not None:
        server.admission.charge(context.lease, asked.samples)


async def whole(server: Server, context: RequestContext, asked: ParsedRequest) -> Json:
    """The answer to a request that is not streamed. Raises RequestError."""
    if asked.direct:
        context.draws_directly(asked.samples)
        return await WholeAnswer(server, asked).answer()
    return await selected(server, asked, context)
