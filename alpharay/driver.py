"""Drives a session: starts its draws, reports their outcomes, and waits while no member is available."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable

from alpharay.router import Candidate, Draw, Event, Expired, Lost, Revived, Session, Stop

# A drain may bring the deadline forward while a request waits, so it is asked for again this often.
_LOOK_UP_S = 1.0
# Where every member is down: an engine is back within seconds, a replica within a minute.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0


class Sampler(ABC):
    """Draws one request's samples. waits: whether a request waits for a member while all of them are down."""

    waits = True

    @abstractmethod
    def start(self, draw: Draw) -> Awaitable[Candidate]:
        """The sample under way. It is cancelled when it is no longer needed."""

    @abstractmethod
    def is_lost(self, draw: Draw, error: Exception) -> bool:
        """Whether the draw goes back into the budget. Otherwise the error ends the request."""

    def drop(self, draw: Draw, error: BaseException | None) -> None:  # noqa: B027 - most need nothing
        """The draw is cancelled: the session has stopped, or `error` ended the request."""

    def sampled(self) -> Iterable[Candidate]:
        """Draws that have been sampled, with their verdicts where they have one: at the deadline they count as they are."""
        return ()


async def drive(
    session: Session, sampler: Sampler, until: Callable[[], float], first: Iterable[Event] = ()
) -> None:
    """Runs the session to its stop. What is under way then is cancelled, and has ended when this returns.

    until: the deadline (monotonic). first: what is known before the first draw. Raises the first error of a draw that is no loss.
    """
    running: dict[asyncio.Future[Candidate], Draw] = {}
    events = list(first)
    pause, error = _FIRST_PAUSE_S, None
    try:
        while not isinstance(draws := session.step(events), Stop):
            events = []
            for draw in draws:
                running[asyncio.ensure_future(sampler.start(draw))] = draw
            left = until() - time.monotonic()
            if left <= 0 or not (running or sampler.waits):
                late = {draw.index for draw in running.values()}
                events.append(Expired(tuple(each for each in sampler.sampled() if each.draw.index in late)))
            elif not running:
                await asyncio.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                events.append(Revived())
            else:
                events += await _finished(running, sampler, min(left, _LOOK_UP_S))
    except BaseException as raised:
        error = raised
        raise
    finally:
        for task, draw in running.items():
            sampler.drop(draw, error)
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _finished(
    running: dict[asyncio.Future[Candidate], Draw], sampler: Sampler, at_most_s: float
) -> list[Event]:
    """Waits for at least one draw; returns the outcomes of all finished draws, in draw order."""
    done, _ = await asyncio.wait(running, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
    events: list[Event] = []
    for task in sorted(done, key=lambda task: running[task].index):
        draw = running.pop(task)
        try:
            events.append(task.result())
        except Exception as error:
            if not sampler.is_lost(draw, error):
                raise
            events.append(Lost(draw))
    return events
