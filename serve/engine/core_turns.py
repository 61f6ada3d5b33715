"""Turns of engines that share a machine's cores.

When all of them draw samples of a large request, every step of every engine waits for the others' steps, and so does a
small request. A few engines at a time draw the same samples in about the same time.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass

# While other engines wait, one lets further samples in for so long after its turn began: a wave's come together.
_LETS_IN_S = 1.0
# A small request counts as present until so long after its end: the next one of its client may follow.
_PRESENT_S = 1.0
# Later samples in one engine while small requests are present: a step computes for all that are in the engine, and a
# small request there waits for whole steps.
_BESIDE = 32


@dataclass(slots=True)
class _Turn:
    began: float
    samples: int = 0


class CoreTurns:
    """At most `at_once` engines draw later samples at a time; half as many, of few samples each, while small requests are present.

    First samples, which are all that a small request has, never wait. An engine's turn ends with the last sample that it
    let in; the next turn is that of the engine which has waited longest.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._turns: dict[Hashable, _Turn] = {}
        self._waiting: dict[
            Hashable, deque[asyncio.Future[None]]
        ] = {}  # by engine, the longest waiting first
        self._first: Counter[str] = Counter()  # first samples by request, just ended ones included
        self._later: Counter[str] = Counter()  # later samples by request, waiting ones included

    @asynccontextmanager
    async def first(self, request: str) -> AsyncIterator[None]:
        """Around a first sample of the request."""
        self._first[request] += 1
        try:
            yield
        finally:
            asyncio.get_running_loop().call_later(_PRESENT_S, self._gone, request)

    @asynccontextmanager
    async def later(self, request: str, engine: Hashable) -> AsyncIterator[None]:
        """Around a later sample of the request; the block begins with the engine's turn."""
        self._later[request] += 1
        try:
            await self._enter(engine)
            try:
                yield
            finally:
                self._leave(engine)
        finally:
            _decrement(self._later, request)
            self._let_in()

    def waiting(self, engine: Hashable) -> int:
        """Samples that wait for the engine's turn."""
        return len(self._waiting.get(engine, ()))

    async def _enter(self, engine: Hashable) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(engine, deque()).append(place)
        self._let_in()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._forget_cancelled(engine)
            else:  # let in and given up in the same moment
                self._leave(engine)
            raise

    def _leave(self, engine: Hashable) -> None:
        self._turns[engine].samples -= 1
        self._end_if_empty(engine)

    def _end_if_empty(self, engine: Hashable) -> None:
        if not self._turns[engine].samples:
            del self._turns[engine]

    def _gone(self, request: str) -> None:
        _decrement(self._first, request)
        self._let_in()

    def _let_in(self) -> None:
        """Lets in what may draw now."""
        now, alone = asyncio.get_running_loop().time(), self._alone()
        at_once = self._at_once if alone else max(1, self._at_once // 2)
        idle = [engine for engine in self._waiting if engine not in self._turns]
        free = max(0, at_once - len(self._turns))
        self._turns |= {engine: _Turn(now) for engine in idle[:free]}
        for engine in [engine for engine in self._waiting if engine in self._turns]:
            turn, places = self._turns[engine], self._waiting[engine]
            if len(idle) <= free or now - turn.began < _LETS_IN_S:
                while places and (alone or turn.samples < _BESIDE):
                    if not (place := places.popleft()).done():  # a cancelled one is done
                        place.set_result(None)
                        turn.samples += 1
            self._forget_cancelled(engine)
            self._end_if_empty(engine)

    def _forget_cancelled(self, engine: Hashable) -> None:
        """Keeps an engine among the waiting only while one of its samples waits."""
        places = self._waiting.get(engine, deque())
        while places and places[0].done():
            places.popleft()
        if not places:
            self._waiting.pop(engine, None)

    def _alone(self) -> bool:
        """Whether no small request is present."""
        return all(request in self._later for request in self._first)


def _decrement(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
