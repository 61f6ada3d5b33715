"""A pinned member's answer: its engine's own, passed through with our notes added."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from alpharay.serve.dialects import chat
from alpharay.serve.ensemble import engine_fault, refused
from alpharay.serve.errors import RequestError, no_capacity
from alpharay.serve.frontier import ServedMember
from alpharay.serve.links import EngineFault, SampleLost
from alpharay.serve.server import Server, Visit
from alpharay.serve.understand import Pinned

Json = dict[str, Any]


async def answer(server: Server, pinned: Pinned) -> Json:
    """The whole answer.

    Raises RequestError: the engine's own refusal, or 503 while the member's engine is being restarted.
    """
    started = time.monotonic()
    member = pinned.member
    try:
        reply = await server.engines.sample(member.name, chat.PATH, _body(pinned), _headers(pinned))
    except SampleLost as error:
        raise _lost(server, pinned, error) from error
    except asyncio.CancelledError:
        _count_samples(server, pinned, "aborted")
        raise
    if reply.status != 200:
        raise refused(reply.status, reply.body)
    response: Json = json.loads(reply.body)
    spent = chat.usage(response)
    _count(server, pinned, spent)
    for choice in response["choices"]:
        choice["alpharay"] = _note(pinned, choice["index"])
    response["alpharay"] = _summary(pinned, spent, time.monotonic() - started)
    return response


class Passing(AsyncIterator[bytes]):
    """A streamed answer as the engine sends it: only its last events wait, to have our notes added.

    `open()` it first: until then nothing has been sent, and a refusal has its proper status.
    """

    def __init__(self, server: Server, pinned: Pinned, visit: Visit) -> None:
        self._server = server
        self._pinned = pinned
        self._visit = visit
        self._started = time.monotonic()
        self._parts: Any = None
        self._settled = False  # whether what became of its samples has been counted
        self._chunks = self._noted()

    async def open(self) -> str:
        """Waits for the engine's status; gives the content type.

        Raises RequestError: the engine's own refusal, or 503 while its engine is being restarted.
        """
        name, body = self._pinned.member.name, _body(self._pinned)
        self._parts = self._server.engines.stream(name, chat.PATH, body, _headers(self._pinned))
        try:
            status, content_type = await anext(self._parts)
            if status == 200:
                return str(content_type)
            whole = b"".join([part async for part in self._parts])
        except SampleLost as error:
            self._settled = True
            raise _lost(self._server, self._pinned, error) from error
        self._settled = True
        raise refused(status, whole)

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        if not self._settled:
            self._settled = True
            _count_samples(self._server, self._pinned, "aborted")
        await self._chunks.aclose()
        if self._parts is not None:
            await self._parts.aclose()

    async def _noted(self) -> Any:
        held: Json | None = None  # the last event that ended a choice: our summary may belong into it
        try:
            async for line in _events(self._parts):
                if line == b"[DONE]":
                    if held is not None:
                        yield chat.event(held)
                    yield chat.DONE
                elif b'"finish_reason":null' in line:
                    if b'"role":' not in line:  # the opening event names the role and has no text yet
                        self._visit.first_text()
                    yield b"data: " + line + b"\n\n"
                else:
                    event = json.loads(line)
                    if "error" in event:
                        raise EngineFault(f"{self._pinned.member.name}: {event['error']}")
                    for choice in event.get("choices", []):
                        choice["alpharay"] = _note(self._pinned, choice["index"])
                    if event.get("choices"):
                        if held is not None:
                            yield chat.event(held)
                        held = event
                    elif event.get("usage"):
                        if held is not None and self._pinned.request.include_usage:
                            yield chat.event(held)
                        held = self._closed(held, event)
                    else:
                        yield chat.event(event)
        except SampleLost as lost:
            self._settled = True
            error = _lost(self._server, self._pinned, lost)
            self._visit.end("unavailable")
            yield chat.event(chat.error_body(error.message, kind="server_error", code=error.code))
            yield chat.DONE

    def _closed(self, held: Json | None, usage: Json) -> Json:
        """The last data event: the usage event if the caller asked for one, else the last that ended a choice."""
        spent = chat.usage(usage)
        self._settled = True
        _count(self._server, self._pinned, spent)
        summary = _summary(self._pinned, spent, time.monotonic() - self._started)
        if self._pinned.request.include_usage or held is None:
            return {**usage, "alpharay": summary}
        return {**held, "alpharay": summary}


async def _events(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each server-sent event, however the bytes were cut."""
    rest = b""
    async for part in parts:
        rest += part
        *whole, rest = rest.split(b"\n\n")
        for event in whole:
            if event.startswith(b"data: "):
                yield event.removeprefix(b"data: ")


def _body(pinned: Pinned) -> bytes:
    return chat.engine_body(pinned.request, pinned.member.name, seed=pinned.seed, draw=False)


def _headers(pinned: Pinned) -> dict[str, str]:
    return {"x-request-id": pinned.request_id}


def _lost(server: Server, pinned: Pinned, lost: SampleLost) -> RequestError:
    _count_samples(server, pinned, "lost")
    if isinstance(lost, EngineFault):
        return engine_fault()
    return no_capacity(f"the engine of {pinned.member.name} was lost and is being started anew; try again")


def _count(server: Server, pinned: Pinned, spent: tuple[int, int]) -> None:
    name = pinned.member.name
    _count_samples(server, pinned, "finished")
    server.counts.tokens.labels(name, "prompt").inc(spent[0])
    server.counts.tokens.labels(name, "completion").inc(spent[1])
    server.counts.selected.labels(name).inc()


def _count_samples(server: Server, pinned: Pinned, outcome: str) -> None:
    server.counts.samples.labels(pinned.member.name, outcome).inc(pinned.request.choices)


def _note(pinned: Pinned, index: int) -> Json:
    member: ServedMember = pinned.member
    return {
        "member": member.name,
        "alpha": member.alpha,
        "checkpoint": member.sha256,
        "seed": pinned.seed + index,  # as vLLM seeds the choices of one request
        "turn": 1,
        "verdict": None,
        "passed": None,
        "total": None,
        "score": None,
    }


def _summary(pinned: Pinned, spent: tuple[int, int], seconds: float) -> Json:
    drawn = pinned.request.choices
    return {
        "budget": drawn,
        "effective_budget": drawn,
        "drawn": drawn,
        "members": {pinned.member.name: {"drawn": drawn, "verdicts": {}}},
        "stopped": "budget",
        "judge": "not_asked",
        "usage": {"prompt_tokens": spent[0], "completion_tokens": spent[1]},
        "seconds": {"sample": round(seconds, 4), "judge": 0.0, "total": round(seconds, 4)},
    }
