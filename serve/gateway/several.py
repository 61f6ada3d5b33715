"""Several choices of one streamed request without a budget: each its own member's, streamed token by token.

The choices are the draws that the same request would get unstreamed. Each is a stream of its member's engine; their
events go out as they come, renumbered as the choices of one answer. Only dialects with room for several choices
come here, whose streams are chunks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from alpharay.router import Candidate, Draw
from alpharay.serve.dialects.chunks import usage
from alpharay.serve.dialects.dialect import EngineError, Json
from alpharay.serve.dialects.openai import DONE, data_of, error_body, event
from alpharay.serve.errors import RequestError, no_capacity
from alpharay.serve.gateway import respond
from alpharay.serve.gateway.pinned import events_of
from alpharay.serve.gateway.server import RequestContext, Server, outcome_of
from alpharay.serve.gateway.streaming import HEADERS_AFTER_S
from alpharay.serve.learn.recording import Recorded
from alpharay.serve.sampling.ensemble import Job, Outcome, engine_fault, refused
from alpharay.serve.transport.clients import EngineFault, SampleLost

log = logging.getLogger("ray.serve")


class Choices(AsyncIterator[bytes]):
    """The events of all choices. `open()` it first: until then nothing has been sent, and a refusal has its status."""

    def __init__(self, server: Server, job: Job, context: RequestContext) -> None:
        self._server = server
        self._job = job
        self._context = context
        self._started = time.monotonic()
        self._origin = respond.origin(job, server.config.name)
        self._one = replace(job.request, choices=1)
        self._session = Recorded(job.sampling, job.policy)
        self._outcome = Outcome(self._session, "not_asked")
        self._spare: list[Draw] = []
        self._running: dict[asyncio.Task[None], Draw] = {}
        self._arrived: asyncio.Queue[Json | None] = asyncio.Queue()
        self._news = asyncio.Event()
        self._error: RequestError | None = None
        self._last: Json | None = None  # the last chunk that ended a choice: our summary may belong into it
        self._left = 0  # choices that have not ended, or whose end has not been read
        self._chunks = self._merged()

    async def open(self) -> None:
        """Waits a moment for the first event. Raises RequestError: the engine's refusal, or 503."""
        for index, draw in enumerate(self._session.next_wave()):
            task = asyncio.create_task(self._choice(index, draw))
            self._running[task] = draw
        self._left = len(self._running)
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({news}, timeout=HEADERS_AFTER_S)
        finally:
            news.cancel()
        if self._error is not None:
            raise self._error

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        tasks = list(self._running)
        for task in tasks:
            if task.cancel():
                self._count(self._running[task], "aborted")
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._chunks.aclose()

    async def _merged(self) -> Any:
        while self._left:
            chunk = await self._arrived.get()
            if self._error is not None:
                break
            if chunk is None:
                self._left -= 1
            elif chunk["choices"][0].get("finish_reason") is None:
                yield event(chunk)
            else:
                if self._last is not None:
                    yield event(self._last)
                self._last = chunk
        if self._error is not None:  # also where every choice had ended before it was read
            self._context.end(outcome_of(self._error))
            yield event(error_body(self._error))
        else:
            for chunk in self._closed():
                yield event(chunk)
        yield DONE

    async def _choice(self, index: int, draw: Draw) -> None:
        """One choice's events, from another member where its engine is lost before it has said anything."""
        try:
            while True:
                begun = False
                try:
                    async for chunk in self._stream(index, draw):
                        begun = True
                        self._arrived.put_nowait(chunk)
                        self._news.set()
                    break
                except EngineFault:
                    raise
                except SampleLost:
                    self._count(draw, "lost")
                    if begun:
                        raise
                    draw = self._redrawn(draw)
                    self._running[asyncio.current_task()] = draw  # type: ignore[index]  # it runs in a task
        except RequestError as error:
            self._error = self._error or error
        except EngineFault:
            fault = engine_fault(self._job.request)
            if fault.status >= 500:
                self._count(draw, "lost")
            self._error = self._error or fault
        except SampleLost as error:
            told = f"an engine was lost and is being restarted ({error}); try again"
            self._error = self._error or no_capacity(told)
        except Exception as error:
            log.exception("internal error in a choice of a stream")
            told = f"internal error of the server, not of the request: {type(error).__name__}"
            self._error = self._error or RequestError(500, told)
        finally:
            self._running.pop(asyncio.current_task(), None)  # type: ignore[arg-type]
            self._arrived.put_nowait(None)
            self._news.set()

    def _redrawn(self, draw: Draw) -> Draw:
        """The draw in the place of a lost one. Raises RequestError (503): no member is left."""
        self._session.lost(draw)
        self._spare.extend(self._session.next_wave())
        if not self._spare:
            raise no_capacity("no sample could be drawn: every member failed")
        return self._spare.pop(0)

    async def _stream(self, index: int, draw: Draw) -> AsyncIterator[Json]:
        """One draw's chunks as those of that choice. Raises SampleLost, and RequestError: the engine's refusal."""
        dialect, request_id = self._job.dialect, f"{self._job.request_id}-{draw.index}"
        body = dialect.engine_body(self._one, draw.member, seed=draw.seed, draw=False, request_id=request_id)
        parts: Any = self._server.engines.stream(
            draw.member, dialect.PATH, body, {"x-request-id": request_id}
        )
        started = time.monotonic()
        try:
            status, _ = await anext(parts)
            if status != 200:
                raise refused(status, b"".join([part async for part in parts]), self._job.request)
            async for whole in events_of(parts):
                for one in whole:
                    line = data_of(one)
                    if line is None or line == b"[DONE]":
                        continue
                    chunk = self._read(line, index, draw)
                    if chunk.get("choices"):
                        yield chunk
                    elif chunk.get("usage"):
                        self._outcome.sample_s += time.monotonic() - started
                        self._spent(draw, chunk)
                        return
        finally:
            await parts.aclose()
        raise SampleLost(f"{draw.member}: its stream ended in the middle")

    def _read(self, line: bytes, index: int, draw: Draw) -> Json:
        chunk: Json = json.loads(line)
        if "error" in chunk:
            error = EngineError(line)
            if error.status < 500 or error.status == 501:
                raise refused(error.status, error.body, self._job.request)
            raise EngineFault(f"{draw.member}: {error}")
        prefix = str(chunk.get("id")).partition("-")[0]
        chunk |= {
            "id": f"{prefix}-{self._origin.request_id}",
            "model": self._origin.model,
            "created": self._origin.created,
        }
        for choice in chunk.get("choices", ()):
            choice["index"] = index
            if choice.get("finish_reason") is not None:
                choice["alpharay"] = respond.choice_note(Candidate(draw=draw), self._server.by_name)
            if choice.get("text") or "role" not in choice.get("delta", {"role": ""}):
                self._context.first_text()
        return chunk

    def _spent(self, draw: Draw, chunk: Json) -> None:
        prompt, completion = usage(chunk)
        self._session.observe(Candidate(draw=draw, prompt_tokens=prompt, completion_tokens=completion))
        self._outcome.prompt_tokens += prompt
        self._outcome.completion_tokens += completion
        self._count(draw, "finished")
        self._server.counts.tokens.labels(draw.member, "prompt").inc(prompt)
        self._server.counts.tokens.labels(draw.member, "completion").inc(completion)

    def _closed(self) -> list[Json]:
        """The last data events, with the summary in the very last."""
        self._outcome.total_s = time.monotonic() - self._started
        chosen = self._session.candidates
        respond.count(self._server.counts, self._outcome, chosen)
        self._server.learning.record(self._job.request_id, self._session, chosen, [])
        told = respond.told(self._job, self._outcome)
        last = self._last or {}
        if not self._job.request.include_usage:
            return [{**last, "alpharay": told}]
        prompt = max(candidate.prompt_tokens for candidate in chosen)
        completion = self._outcome.completion_tokens
        spent = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        return [last, {**last, "choices": [], "usage": spent, "alpharay": told}]

    def _count(self, draw: Draw, outcome: str) -> None:
        self._server.counts.samples.labels(draw.member, outcome).inc()
