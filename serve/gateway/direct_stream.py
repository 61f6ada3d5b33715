"""A direct answer as a stream: the engines' own events, only the last of which wait to have our notes added."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, suppress
from typing import Any

from alpharay.router import Draw
from alpharay.serve.dialects.api_request import Json, engine_headers
from alpharay.serve.dialects.chat import MergedChunks
from alpharay.serve.dialects.dialect import Closing, EngineError, Passage, Spent
from alpharay.serve.dialects.openai import events_of, one_line
from alpharay.serve.dialects.refusals import refused
from alpharay.serve.errors import RequestError
from alpharay.serve.gateway.admission import RequestContext, outcome_of
from alpharay.serve.gateway.direct import DirectSampler
from alpharay.serve.gateway.server import Server
from alpharay.serve.gateway.streaming import HEADERS_AFTER_S, EventSource
from alpharay.serve.sampling.request import ParsedRequest
from alpharay.serve.transport.clients import SampleLost

log = logging.getLogger("ray.serve")


class StreamedAnswer(DirectSampler, EventSource):
    """The events of a direct answer.

    `open()` it first: until then nothing has been sent, and a refusal has its proper status, also one that the
    engine tells as the first event of its stream.
    """

    def __init__(self, server: Server, parsed: ParsedRequest, context: RequestContext) -> None:
        super().__init__(server, parsed)
        self._context = context
        self._merged = MergedChunks(parsed.request, self.origin) if parsed.sampling.budget > 1 else None
        self._choices: dict[int, int] = {}  # per draw the choice that it is
        self._free = list(range(parsed.sampling.budget))  # choices without a draw
        self._begun: set[int] = set()  # draws of which something was sent
        self._texts: Counter[int] = Counter()  # events with text, by draw
        self._passage: Passage | None = None
        self._held = b""  # what an engine says before it begins to answer: it may still refuse
        self._sample_s = 0.0
        self._ready: list[bytes] = []  # to be sent
        self._taken = False  # whether an engine has taken the request
        self._waiter: asyncio.Future[None] | None = (
            None  # of `open` or `__anext__`: woken by all that happens
        )
        self._opened = False
        self._working: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Waits for an engine to take the request, and a moment for the first event. Raises RequestError."""
        self._working = asyncio.create_task(self._work())
        self._working.add_done_callback(self._wake)
        while not (self._taken or self._working.done()):
            await self._news()
        with suppress(TimeoutError):
            async with asyncio.timeout(HEADERS_AFTER_S):
                while not (self._ready or self._working.done()):
                    await self._news()
        self._opened = True
        if self._working.done():
            self._working.result()

    async def __anext__(self) -> bytes:
        """What has become ready since the last call, in one piece."""
        assert self._working is not None
        while not self._ready:
            if self._working.done():
                raise StopAsyncIteration
            await self._news()
        ready, self._ready = self._ready, []
        return ready[0] if len(ready) == 1 else b"".join(ready)

    async def aclose(self) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    async def _news(self) -> None:
        """Returns when something was sent, an engine took the request, or the work has ended."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _work(self) -> None:
        """Draws to the end. An error is raised until the stream is open, and from then on its last event."""
        try:
            await self.run()
            if self._merged is not None:
                self._send(self._merged.finish(self._recorded()))
        except RequestError as error:
            self._fail(error)
        except Exception as error:
            log.exception("internal error in a stream")
            self._fail(
                RequestError(500, f"internal error of the server, not of the request: {type(error).__name__}")
            )

    def _fail(self, error: RequestError) -> None:
        if not self._opened:
            raise error
        self._context.end(outcome_of(error))
        if self._passage is not None:
            self._send([self._held, *self._passage.fail(error)])

    def _recorded(self) -> Json:
        """Of several choices."""
        chosen = sorted(self.session.candidates, key=lambda each: self._choices[each.draw.index])
        spent = sum(each.prompt_tokens for each in chosen), sum(each.completion_tokens for each in chosen)
        return self.record(self.session, chosen, spent, self._sample_s)

    async def sample(self, draw: Draw) -> Spent:
        request_id, started = self.parsed.request_id, time.monotonic()
        if self._merged is not None:
            request_id = f"{request_id}-{draw.index}"
            self._choices[draw.index] = self._free.pop(0)
        body = self.body(draw, request_id)
        before = draw.index if self._merged is not None else self.parsed.choices_a_draw - 1
        headers = engine_headers(request_id, before) | self.parsed.trace.headers(draw)
        stream: Any = self._server.engines.stream(draw.member, self.parsed.dialect.PATH, body, headers)
        try:
            async with aclosing(stream) as parts:
                status, _ = await anext(parts)
                if status != 200:
                    raise refused(status, b"".join([part async for part in parts]), self.parsed.request)
                self._taken = True
                self._wake()
                return await self._pass(draw, parts)
        except (SampleLost, EngineError):
            if not self.is_begun(draw) and self._merged is not None:
                self._free.insert(0, self._choices[draw.index])
            raise
        finally:
            self._sample_s += time.monotonic() - started

    def is_begun(self, draw: Draw) -> bool:
        return draw.index in self._begun

    def sent(self, draw: Draw) -> int:
        """An event carries at least one token."""
        return self._texts[draw.index]

    async def _pass(self, draw: Draw, parts: AsyncIterator[bytes]) -> Spent:
        """Sends the draw's events on. Raises EngineError, and SampleLost: they end in the middle."""
        spent: Spent | None = None

        def closing(total: Spent) -> Json:
            nonlocal spent
            spent = total
            return {} if self._merged is not None else self.finish(draw, total)

        passage = self._passage = self._new_passage(draw, closing)
        engine_name = f'"model":"{draw.member}"'.encode()
        name = f'"model":{json.dumps(self.origin.model)}'.encode()
        renamed = engine_name != name
        # An earlier draw's, in whose place this one answers. Several choices hold nothing: chunks begin at once.
        self._held = b""
        async for events in events_of(parts):
            # The text of an answer cannot hold the engine's name of the model: its quotes are escaped.
            named = [event.replace(engine_name, name) for event in events] if renamed else events
            passed: list[bytes] = []
            for event in named:
                passed += passage.through(event)
                self._texts[draw.index] += passage.texted
            self._held += b"".join(passed)
            if passage.texted:
                self._context.first_text()
            if passage.begun and self._held:
                self._begun.add(draw.index)
                self._send([self._held])
                self._held = b""
            if self._merged is not None and spent is not None:
                return spent  # the choice is whole, whatever becomes of its connection
        if spent is None:
            raise SampleLost(f"{draw.member}: its stream ended in the middle")
        return spent

    def _new_passage(self, draw: Draw, closing: Closing) -> Passage:
        parsed = self.parsed
        if self._merged is not None:
            return self._merged.choice(self._choices[draw.index], self.note(draw), closing)
        return parsed.dialect.passage(
            parsed.request, self.origin, lambda index: self.note(draw, index), closing
        )

    def _send(self, parts: Iterable[bytes]) -> None:
        self._ready.append(one_line(b"".join(parts)))
        self._wake()
