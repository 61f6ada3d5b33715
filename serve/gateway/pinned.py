"""A pinned member's answer: its engine's own, passed through with our notes added."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from alpharay.router import Candidate, SamplingRequest
from alpharay.router.learn.features import features_of
from alpharay.serve.dialects.dialect import EngineError, Origin, Spent
from alpharay.serve.dialects.openai import one_line
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway.parse import PinnedRequest
from alpharay.serve.gateway.server import RequestContext, Server, outcome_of
from alpharay.serve.gateway.streaming import HEADERS_AFTER_S
from alpharay.serve.learn.recording import Recorded
from alpharay.serve.sampling.ensemble import engine_fault, refused
from alpharay.serve.sampling.prompt_text import prompt_text
from alpharay.serve.state.members import ServedMember
from alpharay.serve.transport.clients import EngineFault, SampleLost

Json = dict[str, Any]


class EngineLost(RequestError):
    """503: the member's engine is gone; another member may answer."""


async def answer(server: Server, pinned: PinnedRequest) -> Json:
    """The whole answer.

    Raises RequestError: the engine's own refusal, or 503 while the member's engine is being restarted.
    """
    started = time.monotonic()
    member, dialect = pinned.member, pinned.dialect
    try:
        reply = await server.engines.sample(member.name, dialect.PATH, _body(pinned), _headers(pinned))
    except SampleLost as error:
        raise _lost(server, pinned, error) from error
    except asyncio.CancelledError:
        _count_samples(server, pinned, "aborted")
        raise
    if reply.status != 200:
        raise refused(reply.status, reply.body, pinned.request)
    response: Json = json.loads(reply.body)
    spent = dialect.usage(response)
    _count(server, pinned, spent)
    summary = _summary(pinned, spent, time.monotonic() - started)
    return dialect.noted(_origin(pinned), response, lambda index: _note(pinned, index), summary)


class PassThroughStream(AsyncIterator[bytes]):
    """A streamed answer as the engine sends it: only its last events wait, to have our notes added.

    `open()` it first: until then nothing has been sent, and a refusal has its proper status, also one that the
    engine tells as the first event of its stream.
    """

    def __init__(self, server: Server, pinned: PinnedRequest, context: RequestContext) -> None:
        self._server = server
        self._pinned = pinned
        self._context = context
        self._started = time.monotonic()
        self._parts: Any = None
        self._held: list[bytes] = []  # what waits for the headers
        self._beginning: asyncio.Future[None] | None = None
        self._opened = False
        self._settled = False  # whether what became of its samples has been counted
        self._passage = pinned.dialect.passage(
            pinned.request, _origin(pinned), lambda index: _note(pinned, index), self._close
        )
        self._chunks = self._noted()

    async def open(self) -> str:
        """Waits for the engine's status, and a moment for its first event; gives the content type.

        Raises RequestError: the engine's own refusal, or 503 while its engine is being restarted.
        """
        name, path = self._pinned.member.name, self._pinned.dialect.PATH
        self._parts = self._server.engines.stream(name, path, _body(self._pinned), _headers(self._pinned))
        try:
            status, content_type = await anext(self._parts)
            if status != 200:
                whole = b"".join([part async for part in self._parts])
        except SampleLost as error:
            self._settled = True
            raise _lost(self._server, self._pinned, error) from error
        if status != 200:
            self._settled = True
            raise refused(status, whole, self._pinned.request)
        self._beginning = asyncio.ensure_future(self._begin())
        await asyncio.wait({self._beginning}, timeout=HEADERS_AFTER_S)
        self._opened = True
        refusal = self._beginning.exception() if self._beginning.done() else None
        if isinstance(refusal, RequestError):
            raise refusal
        return str(content_type)

    async def _begin(self) -> None:
        """Holds what comes until the engine has begun to answer."""
        async for chunk in self._chunks:
            self._held.append(chunk)
            if self._passage.begun:
                return

    async def __anext__(self) -> bytes:
        if not self._held and self._beginning is not None:
            beginning, self._beginning = self._beginning, None
            await beginning
        if self._held:
            return self._held.pop(0)
        return bytes(await anext(self._chunks))

    async def aclose(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.gather(self._beginning, return_exceptions=True)
        if not self._settled:
            self._settled = True
            _count_samples(self._server, self._pinned, "aborted")
        await self._chunks.aclose()
        if self._parts is not None:
            await self._parts.aclose()

    async def _noted(self) -> Any:
        passage, renamed = self._passage, _renamed(self._pinned)
        try:
            async for events in events_of(self._parts):
                out = b"".join(
                    part
                    for event in events
                    for part in passage.through(event.replace(*renamed) if renamed else event)
                )
                if passage.texted:
                    self._context.first_text()
                if out:
                    yield one_line(out)
        except (SampleLost, EngineError) as error:
            self._settled = True
            ours = _told(self._server, self._pinned, error, begun=self._opened)
            if not self._opened:
                raise ours from error
            self._context.end(outcome_of(ours))
            for out in passage.fail(ours):
                yield one_line(out)

    def _close(self, spent: Spent) -> Json:
        """The summary; what was spent is counted."""
        self._settled = True
        _count(self._server, self._pinned, spent)
        return _summary(self._pinned, spent, time.monotonic() - self._started)


async def events_of(parts: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """The server-sent events that each part completes, however the bytes were cut."""
    rest = b""
    async for part in parts:
        *whole, rest = (rest + part).split(b"\n\n")
        yield whole


def _body(pinned: PinnedRequest) -> bytes:
    return pinned.dialect.engine_body(
        pinned.request, pinned.member.name, seed=pinned.seed, draw=False, request_id=pinned.request_id
    )


def _headers(pinned: PinnedRequest) -> dict[str, str]:
    return {"x-request-id": pinned.request_id}


def _origin(pinned: PinnedRequest) -> Origin:
    return Origin(request_id=pinned.request_id, model=pinned.model, created=int(time.time()))


def _renamed(pinned: PinnedRequest) -> tuple[bytes, bytes] | None:
    """How the engine names the model in its events, and how the caller did. Text cannot hold it: its quotes are escaped."""
    if pinned.model == pinned.member.name:
        return None
    return f'"model":"{pinned.member.name}"'.encode(), f'"model":{json.dumps(pinned.model)}'.encode()


def _told(
    server: Server, pinned: PinnedRequest, error: SampleLost | EngineError, *, begun: bool
) -> RequestError:
    """What broke a stream off. The engine may have refused the request, which is no fault of its own."""
    if isinstance(error, SampleLost):
        return _lost(server, pinned, error)
    if error.status < 500 or error.status == 501:
        return refused(error.status, error.body, pinned.request)
    if pinned.others and not begun and engine_fault(pinned.request).status >= 500:
        # An engine that is dying fails before its death is noticed, and another member may answer.
        return _lost(server, pinned, SampleLost(f"{pinned.member.name}: {error}"))
    return _lost(server, pinned, EngineFault(f"{pinned.member.name}: {error}"))


def _lost(server: Server, pinned: PinnedRequest, lost: SampleLost) -> RequestError:
    if isinstance(lost, EngineFault):
        fault = engine_fault(pinned.request)
        if fault.status >= 500:
            _count_samples(server, pinned, "lost")
        return fault
    _count_samples(server, pinned, "lost")
    told = f"the engine of {pinned.member.name} was lost and is being restarted; try again"
    return EngineLost(503, told, code="no_capacity", retry_after_s=5)


def _count(server: Server, pinned: PinnedRequest, spent: Spent) -> None:
    name = pinned.member.name
    _count_samples(server, pinned, "finished")
    server.counts.tokens.labels(name, "prompt").inc(spent[0])
    server.counts.tokens.labels(name, "completion").inc(spent[1])
    server.counts.selected.labels(name).inc()
    server.learning.record(pinned.request_id, *_recorded(pinned, spent))


def _recorded(pinned: PinnedRequest, spent: Spent) -> tuple[Recorded, list[Candidate]]:
    """The request as a session over its one member, so that feedback finds what it is about."""
    samples = pinned.samples
    features = features_of(prompt_text(pinned.request.body))
    sampling = SamplingRequest(
        members=(pinned.member.as_member,), budget=samples, seed=pinned.seed, features=features
    )
    session = Recorded(sampling, "single")
    for draw in session.next_wave():
        session.observe(
            Candidate(draw=draw, prompt_tokens=spent[0] // samples, completion_tokens=spent[1] // samples)
        )
    return session, session.candidates


def _count_samples(server: Server, pinned: PinnedRequest, outcome: str) -> None:
    server.counts.samples.labels(pinned.member.name, outcome).inc(pinned.samples)


def _note(pinned: PinnedRequest, index: int) -> Json:
    member: ServedMember = pinned.member
    return {
        **member.origin,
        # As vLLM seeds the choices of one request; several prompts share their seeds.
        "seed": pinned.seed + index % pinned.request.choices,
        "turn": 1,
        "verdict": None,
        "passed": None,
        "total": None,
        "score": None,
    }


def _summary(pinned: PinnedRequest, spent: Spent, seconds: float) -> Json:
    drawn = pinned.samples
    told: Json = {
        "budget": drawn,
        "effective_budget": drawn,
        "drawn": drawn,
        "members": {pinned.member.name: {"drawn": drawn, "verdicts": {}}},
        "stopped": "budget",
        "judge": "not_asked",
        "usage": {"prompt_tokens": spent[0], "completion_tokens": spent[1]},
        "seconds": {"sample": round(seconds, 4), "judge": 0.0, "total": round(seconds, 4)},
    }
    if pinned.request.changed:
        told["left_out"] = list(pinned.request.changed)
    return told
