"""Who may have how many samples in an engine that computes on the CPU.

On a GPU a step takes about as long with 64 sequences as with one, and vLLM's priorities are enough. On a CPU a step
takes as long as its sequences are many: a small request beside one of 250 samples would wait for all of those at every
token. So while small requests come, a large one has a part of the engine; alone it has all of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

# Small requests mostly come one after another: the next one finds the engine as the last one left it.
HOLD_S = 1.0


@dataclass(slots=True)
class _Request:
    """running: samples in the engine. waiting: those that wait for a place, first come, first served."""

    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    large: bool = False


class FairShare:
    """Places for samples in one engine.

    part: samples that large requests have in the engine together while there are small ones. A request is large once
    it has asked for more than half of `part` at once, and stays so until its last sample has left.
    """

    def __init__(self, part: int) -> None:
        self._part = max(part, 2)
        self._requests: dict[str, _Request] = {}
        self._left: dict[str, asyncio.TimerHandle] = {}  # small requests that had a place a moment ago

    @property
    def waiting(self) -> int:
        return sum(len(request.waiting) for request in self._requests.values())

    @asynccontextmanager
    async def place(self, name: str) -> AsyncIterator[None]:
        """Within the block a sample of the request of that name is in the engine."""
        request = self._requests.setdefault(name, _Request())
        turn = asyncio.get_running_loop().create_future()
        request.waiting.append(turn)
        request.large |= request.running + len(request.waiting) > self._part // 2
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                request.running -= 1
            else:
                request.waiting.remove(turn)
            if not request.running and not request.waiting:
                self._leave(name, request)
            self._admit()

    def _leave(self, name: str, request: _Request) -> None:
        del self._requests[name]
        if not request.large:
            if name in self._left:
                self._left[name].cancel()
            self._left[name] = asyncio.get_running_loop().call_later(HOLD_S, self._forget, name)

    def _forget(self, name: str) -> None:
        del self._left[name]
        self._admit()

    def _admit(self) -> None:
        large = sum(request.large for request in self._requests.values())
        # One that left as a small one may be back as a large one: it is not its own neighbour.
        contended = large < len(self._requests) or bool(self._left.keys() - self._requests.keys())
        bound = max(self._part // large, 1) if large and contended else None
        for request in self._requests.values():
            while request.waiting and (not request.large or bound is None or request.running < bound):
                request.running += 1
                request.waiting.popleft().set_result(None)
