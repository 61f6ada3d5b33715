"""How many requests of batches are under way: more while engines keep up, fewer while others wait for them."""

from __future__ import annotations

import asyncio
from collections import deque

_FIRST, _STEP, _LEAST = 32, 32, 4


class Slots:
    """Batches that wait take turns, a request each. limit: requests under way at a time, at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = min(_FIRST, most)
        self.taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def adapt(self, *, waited_for: bool) -> None:
        """Called once a second. waited_for: requests wait in the engines, whoever's they are."""
        if waited_for:
            self.limit = max(min(_LEAST, self._most), self.limit // 2)
        elif self.taken >= self.limit:
            self.limit = min(self._most, self.limit + _STEP)
        self._hand_out()

    async def acquire(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        self.taken -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self.taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)
