"""A request from its body to its answer, whole or streamed, whether it came over HTTP or in a batch's file.

Parsed, then run by one driver, then answered. An answer is selected among candidates, or is an engine's own
(`direct.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace

from alpharay.serve.dialects.api_request import Json, salted
from alpharay.serve.dialects.dialect import Dialect, Origin
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway import respond
from alpharay.serve.gateway.admission import RequestContext, outcome_of
from alpharay.serve.gateway.direct import WholeAnswer
from alpharay.serve.gateway.http.body import apart
from alpharay.serve.gateway.parse import parse_request
from alpharay.serve.gateway.server import Server
from alpharay.serve.gateway.streaming import HEADERS_AFTER_S, EventSource, either, let_go
from alpharay.serve.sampling.ensemble import Outcome
from alpharay.serve.sampling.progress import Progress, Watch
from alpharay.serve.sampling.request import ParsedRequest

# Each message costs two hops between processes: steps that come close together share one.
_GATHER_S = 0.1


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
    if not context.trace.live:
        return parsed
    context.trace.set_attributes(request_attributes(parsed))
    return replace(parsed, trace=context.trace)


def request_attributes(parsed: ParsedRequest) -> Json:
    """What a trace says of a request, by the names of OpenTelemetry's conventions."""
    body = parsed.request.body
    numbers = {
        f"gen_ai.request.{name}": body.get(name)
        for name in ("temperature", "top_p", "max_tokens")
        if isinstance(body.get(name), int | float)
    }
    return numbers | {
        "gen_ai.request.model": parsed.model,
        "gen_ai.request.seed": parsed.request.seed,
        "gen_ai.request.stream": parsed.request.stream,
        "gen_ai.request.choice.count": parsed.request.choices if parsed.request.choices > 1 else None,
        "gen_ai.response.id": f"{parsed.dialect.ID}{parsed.request_id}",
        "alpharay.budget": parsed.requested_budget or None,
        "alpharay.policy": parsed.policy,
        "alpharay.selector": parsed.sampling.selector,
    }


async def whole(server: Server, context: RequestContext, parsed: ParsedRequest) -> Json:
    """The answer to a request that is not streamed. Raises RequestError."""
    if parsed.direct:
        context.draws_directly(parsed.samples)
        return await WholeAnswer(server, parsed).answer()
    return await selected(server, parsed, context)


async def selected(
    server: Server,
    parsed: ParsedRequest,
    context: RequestContext,
    watch: Watch | None = None,
    origin: Origin | None = None,
) -> Json:
    """The whole answer. Its time counts from the request's arrival, its draws are charged to the request's key."""
    charged = context.lease.watch if context.lease is not None else None
    watches = [each for each in (watch, charged) if each is not None]
    outcome = Outcome(server.begin(parsed), "ok" if parsed.tests is not None else "not_asked")
    try:
        await server.ensemble.run(parsed, outcome, watches, arrived=context.arrived)
    finally:  # also for a request whose client has left, or whose deadline came before its first sample
        if context.lease is not None:
            tokens = outcome.prompt_tokens, outcome.completion_tokens
            respond.count_for_key(server.counts, parsed.key, context.lease.drawn, tokens, outcome.judge_cpu_s)
    chosen = respond.returned(parsed, outcome)
    respond.record(server, parsed, outcome, chosen)
    return respond.whole(parsed, outcome, chosen, server.by_name, origin or respond.origin(parsed))


class SelectedStream(EventSource):
    """Progress, or keep-alive chunks, until the answer is there; then its events."""

    def __init__(self, server: Server, parsed: ParsedRequest, context: RequestContext) -> None:
        origin = respond.origin(parsed)
        self._context = context
        self._every_s = server.config.server.keep_alive_s
        self._progress = Progress()
        self._replay = parsed.dialect.replay(parsed.request, origin)
        self._work = asyncio.ensure_future(selected(server, parsed, context, self._progress.watch, origin))
        self._alive_at = asyncio.get_running_loop().time()
        self._headers = True
        self._rest: Iterator[bytes] | None = None

    async def open(self) -> None:
        """Waits a moment for a first sample. Raises RequestError."""
        await either(self._work, self._progress.begun, HEADERS_AFTER_S)
        if self._work.done():
            self._work.result()

    async def __anext__(self) -> bytes:
        if self._headers:
            self._headers = False
            if opening := self._replay.open():
                return opening
        while self._rest is None:
            if not self._work.done():
                await self._work_or_news()
            # Steps are comments, which not every client counts as a sign of life.
            if out := self._progress.take() + self._keep_alive():
                return out
            if self._work.done():
                self._rest = self._events()
        for chunk in self._rest:
            return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await let_go(self._work)

    def _events(self) -> Iterator[bytes]:
        try:
            whole = self._work.result()
        except RequestError as error:
            # The headers are sent: the error can only be the stream's last event.
            self._context.end(outcome_of(error))
            yield from self._replay.fail(error)
            return
        self._context.first_text()
        yield from self._replay.finish(whole)

    def _keep_alive(self) -> bytes:
        """Once every `keep_alive_s`, while work is under way."""
        now = asyncio.get_running_loop().time()
        if self._work.done() or now - self._alive_at < self._every_s:
            return b""
        self._alive_at = now
        return self._replay.keep_alive()

    async def _work_or_news(self) -> None:
        """Waits for either, at most until the next keep-alive is due; after news a moment more, so that few messages carry it."""
        due = self._alive_at + self._every_s - asyncio.get_running_loop().time()
        await either(self._work, self._progress.news, max(0.0, due))
        if self._progress.news.is_set():
            await asyncio.wait({self._work}, timeout=_GATHER_S)
