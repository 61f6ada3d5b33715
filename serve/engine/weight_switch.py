"""Turns at an engine that holds the weights of one member at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

# How long a member keeps the engine while others wait, at least: short enough not to be noticed much.
TURN_S = 2.0
# And at least so many times as long as the last move took: a tenth of the time, at most, goes into moving.
TURN_MOVES = 10.0


class WeightSwitchScheduler:
    """Admits the requests of one member together, then moves on to the member that has waited longest.

    Requests of the member at hand come in freely while nobody else waits, or for `turn_s` (and TURN_MOVES
    times the last move) since its turn began; then the door closes, those inside finish, and `move` is awaited with
    nobody inside.
    """

    def __init__(
        self,
        at: str,
        move: Callable[[str], Awaitable[None]],
        *,
        turn_s: float = TURN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.at = at
        self._move = move
        self._turn_s = turn_s
        self._move_s = 0.0  # of the last one
        self._clock = clock
        self._since = clock()
        self._inside = 0
        self._moving: asyncio.Task[None] | None = None
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}  # by first arrival

    @property
    def moving(self) -> bool:
        """Whether `move` is under way."""
        return self._moving is not None

    @asynccontextmanager
    async def turn(self, member: str) -> AsyncIterator[None]:
        """Within the block the engine is that member. Raises what `move` raised."""
        await self._enter(member)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, member: str) -> None:
        if member == self.at and not self._moving and not self._is_over():
            self._inside += 1
            return
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(member, []).append(ticket)
        self._go_on()
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
                self._leave()  # admitted and given up in the same moment
            else:
                self._forget(member, ticket)
            raise

    def _is_over(self) -> bool:
        turn_s = max(self._turn_s, TURN_MOVES * self._move_s)
        return bool(self._waiting) and self._clock() - self._since >= turn_s

    def _leave(self) -> None:
        self._inside -= 1
        self._go_on()

    def _forget(self, member: str, ticket: asyncio.Future[None]) -> None:
        tickets = self._waiting.get(member, [])
        if ticket in tickets:
            tickets.remove(ticket)
        if not tickets:
            self._waiting.pop(member, None)

    def _go_on(self) -> None:
        if self._waiting and not self._inside and not self._moving:
            self._moving = asyncio.create_task(self._next_turn(next(iter(self._waiting))))

    async def _next_turn(self, member: str) -> None:
        failure: Exception | None = None
        try:
            if member != self.at:
                began = self._clock()
                await self._move(member)
                self.at, self._move_s = member, self._clock() - began
        except asyncio.CancelledError:  # raised from within: this task is never cancelled
            failure, self.at = RuntimeError(f"the move to {member} was cancelled"), ""
        except Exception as error:  # requests waiting for this member fail; other members get their turn
            failure, self.at = error, ""  # the engine's weights are now unknown
        self._since = self._clock()
        self._moving = None
        for ticket in self._waiting.pop(member, []):
            if ticket.done():
                continue
            if failure is not None:
                ticket.set_exception(failure)
            else:
                ticket.set_result(None)
                self._inside += 1
        self._go_on()
