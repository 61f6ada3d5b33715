"""Turns of engines that share a machine's cores.

When all of them draw samples of a large request, every step of every engine waits for the others' steps, and so does a
small request in any of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

# While other engines wait, one lets further samples in for so long after its turn began: a wave's come together.
_LETS_IN_S = 1.0
# So long after it began a turn is over, whatever it still draws: one long sample must not hold up all other engines.
_TURN_S = 3.0
# A small request counts as present until so long after its end: the next one of its client may follow, and nothing takes
# cores back from what a large request has in the engines by then.
_PRESENT_S = 10.0
# Later samples in one engine while small requests are present: a step computes for all that are in the engine, and a
# small request there waits for whole steps.
_BESIDE = 32


@dataclass(slots=True, eq=False)
class _Turn:
    engine: Hashable
    began: float
    samples: int = 0


# A sample that waits: whether it is of a batch, its number by arrival, and its turn once it has one.
_Waiter = tuple[bool, int, "asyncio.Future[_Turn]"]


class CoreTurns:
    """While small requests are present, at most `at_once` engines draw later samples at a time, each at most _BESIDE.

    First samples, which are all that a small request has, never wait. An engine's turn ends with the last sample that it
    let in, and after _TURN_S. The next one is that of the engine whose last turn is longest ago; samples of batches wait for
    all others. Without small requests nothing waits.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._turns: dict[Hashable, _Turn] = {}
        self._waiting: dict[Hashable, list[_Waiter]] = {}  # by engine, a heap
        self._arrivals = count()
        self._begun: dict[Hashable, int] = {}  # by engine, which turn of all was its last
        self._inside: Counter[Hashable] = Counter()  # later samples by engine, of any turn
        # Samples by request, waiting ones and just ended ones included.
        self._first: Counter[str] = Counter()
        self._later: Counter[str] = Counter()

    @asynccontextmanager
    async def first(self, request: str) -> AsyncIterator[None]:
        """Around a first sample of the request."""
        self._first[request] += 1
        try:
            yield
        finally:
            self._leaves_soon(self._first, request)

    @asynccontextmanager
    async def later(self, request: str, engine: Hashable, *, background: bool = False) -> AsyncIterator[None]:
        """Around a later sample of the request; the block begins with the engine's turn. background: it is of a batch."""
        self._later[request] += 1
        try:
            turn = await self._enter(engine, background)
            try:
                yield
            finally:
                self._leave(turn)
        finally:
            self._leaves_soon(self._later, request)
            self._let_in()

    def waiting(self, engine: Hashable) -> int:
        """Samples that wait for the engine's turn."""
        return sum(not admission.done() for _, _, admission in self._waiting.get(engine, ()))

    async def _enter(self, engine: Hashable, background: bool) -> _Turn:
        admission: asyncio.Future[_Turn] = asyncio.get_running_loop().create_future()
        heappush(self._waiting.setdefault(engine, []), (background, next(self._arrivals), admission))
        self._let_in()
        try:
            return await admission
        except asyncio.CancelledError:
            if admission.cancelled():
                self._forget_cancelled(engine)
            else:  # let in and given up in the same moment
                self._leave(admission.result())
            raise

    def _leave(self, turn: _Turn) -> None:
        self._inside[turn.engine] -= 1
        turn.samples -= 1
        if not turn.samples:
            self._end(turn)

    def _end(self, turn: _Turn) -> None:
        if self._turns.get(turn.engine) is turn:
            del self._turns[turn.engine]

    def _expire(self, turn: _Turn) -> None:
        self._end(turn)
        self._let_in()

    def _leaves_soon(self, samples: Counter[str], request: str) -> None:
        asyncio.get_running_loop().call_later(_PRESENT_S, self._gone, samples, request)

    def _gone(self, samples: Counter[str], request: str) -> None:
        samples[request] -= 1
        if not samples[request]:
            del samples[request]
            self._let_in()

    def _let_in(self) -> None:
        """Lets in what may draw now."""
        loop, alone = asyncio.get_running_loop(), self._alone()
        idle = [
            engine
            for engine in self._waiting
            if engine not in self._turns and (alone or self._inside[engine] < _BESIDE)
        ]
        idle.sort(key=self._order)
        free = len(idle) if alone else max(0, self._at_once - len(self._turns))
        for engine in idle[:free]:
            self._begun[engine] = next(self._arrivals)
            self._turns[engine] = _Turn(engine, loop.time())
            loop.call_later(_TURN_S, self._expire, self._turns[engine])
        others_wait = not alone and (len(idle) > free or len(self._turns) > self._at_once)
        for engine in [engine for engine in self._waiting if engine in self._turns]:
            turn, waiters = self._turns[engine], self._waiting[engine]
            if not others_wait or loop.time() - turn.began < _LETS_IN_S:
                while waiters and (alone or self._inside[engine] < _BESIDE):
                    _, _, admission = heappop(waiters)
                    if not admission.done():  # a cancelled one is done
                        admission.set_result(turn)
                        turn.samples += 1
                        self._inside[engine] += 1
            self._forget_cancelled(engine)
            if not turn.samples:
                self._end(turn)

    def _order(self, engine: Hashable) -> tuple[bool, int, int]:
        """Who of the idle engines is next."""
        background, arrival, _ = self._waiting[engine][0]
        return background, self._begun.get(engine, -1), arrival

    def _forget_cancelled(self, engine: Hashable) -> None:
        """Keeps an engine among the waiting only while one of its samples waits."""
        waiters = self._waiting.get(engine, [])
        while waiters and waiters[0][2].done():
            heappop(waiters)
        if not waiters:
            self._waiting.pop(engine, None)

    def _alone(self) -> bool:
        """Whether no small request is present."""
        return all(request in self._later for request in self._first)
