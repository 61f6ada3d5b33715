"""Candidates of one request on their way through the judge: bounded before they begin, and all let go of at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from alpharay.judge.errors import JudgeError
from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests
from alpharay.judge.program import Program
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.errors import malformed, no_capacity
from alpharay.serve.gateway.door.wire import Asked, AskedAll, told
from alpharay.serve.gateway.streaming import EventSource, let_go
from alpharay.serve.state.metrics import Counts
from alpharay.serve.transport.clients import JudgeUnavailable

log = logging.getLogger("ray.serve")

# Candidates of one batch that are with the judge at once: enough for the cores of any machine, and the rest wait here.
_AHEAD = 256


class DoorJudge(Protocol):
    """What of a judge the door calls."""

    async def judge(
        self, tests: Tests, completion: str | Program, limits: Limits, language: str, group: str
    ) -> Verdict: ...

    async def capture(
        self, program: Program, given: str, limits: Limits, language: str, group: str
    ) -> Verdict: ...

    async def ready_for(self, language: str, tests: Tests) -> None: ...


class Door:
    """The candidates that all requests hold, at most so many, and the judge behind them."""

    def __init__(self, judge: DoorJudge, counts: Counts, most: int) -> None:
        self.judge = judge
        self.counts = counts
        self.held = 0
        self._most = most

    def take(self, count: int) -> None:
        """Takes places for a request's candidates, to be given back. Raises RequestError (503)."""
        if self.held + count > self._most:
            self.counts.rejections.labels("judge_queue_full").inc()
            raise no_capacity(
                f"{self.held} of {self._most} candidates wait for the judge or are being judged, {count} more do not fit",
                retry_after_s=2,
            )
        self.held += count

    def give_back(self, count: int) -> None:
        self.held -= count

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        self.take(count)
        try:
            yield
        finally:
            self.give_back(count)

    async def ready_for(self, language: str, tests: Tests) -> None:
        """Raises RequestError: 400 for a language that cannot be judged here, 503 while nothing can."""
        try:
            await self.judge.ready_for(language, tests)
        except JudgeUnavailable as error:
            raise no_capacity(f"the judge cannot be reached: {error}") from None
        except JudgeError as error:
            raise malformed(str(error), param="language") from None

    async def verdict(self, asked: Asked, group: str) -> Verdict:
        """A fault of the judge's is a verdict too. Raises JudgeUnavailable."""
        began = time.monotonic()
        verdict = await self.judge.judge(asked.tests, asked.answer, asked.limits, asked.language, group)
        self.count("judge", verdict, time.monotonic() - began)
        return verdict

    def count(self, endpoint: str, verdict: Verdict, seconds: float) -> None:
        self.counts.judged.labels(endpoint, verdict.verdict.value).inc()
        self.counts.judge_duration.labels(verdict.verdict.value).observe(seconds)


class JudgedBatch(EventSource):
    """The verdicts of a batch as lines of JSON, each as soon as it is there. `open()` takes its places."""

    def __init__(self, door: Door, asked: AskedAll, group: str) -> None:
        self._door = door
        self._asked = asked
        self._group = group
        self._rest: Iterator[Asked] = iter(asked.candidates)
        self._taken = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._left = 0
        self._until = math.inf

    async def open(self) -> None:
        self._door.take(len(self._asked.candidates))
        self._left = self._taken = len(self._asked.candidates)
        self._until = time.monotonic() + self._asked.wait_s
        for one in {(one.language, id(one.tests)): one for one in self._asked.candidates}.values():
            await self._door.ready_for(one.language, one.tests)
        for _ in range(_AHEAD):
            self._begin()

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        line = await self._lines.get()
        self._left -= 1
        return line

    async def aclose(self) -> None:
        self._rest = iter(())
        await let_go(*self._tasks)
        self._door.give_back(self._taken)
        self._taken = 0

    def _begin(self) -> None:
        asked = next(self._rest, None)
        if asked is not None:
            task = asyncio.create_task(self._judge(asked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _judge(self, asked: Asked) -> None:
        verdict = await in_time(self._door, asked, self._group, self._until - time.monotonic())
        self._lines.put_nowait(line(asked, verdict, detailed=self._asked.detailed))
        self._begin()


async def in_time(door: Door, asked: Asked, group: str, seconds: float) -> Verdict | None:
    """The verdict, or None where it takes longer. A judge that is lost meanwhile, or fails, is a `judge_error`."""
    try:
        async with asyncio.timeout(None if math.isinf(seconds) else max(0.0, seconds)):
            return await door.verdict(asked, group)
    except TimeoutError:
        return None
    except (JudgeUnavailable, JudgeError) as error:
        reason = str(error)
    except Exception as error:
        log.exception("a candidate of a batch could not be judged")
        reason = f"a fault of the server: {type(error).__name__}"
    return Verdict(VerdictKind.JUDGE_ERROR, 0, 0, detail=reason)


def line(asked: Asked, verdict: Verdict | None, *, detailed: bool) -> bytes:
    return json.dumps(told(asked, verdict, detailed=detailed)).encode() + b"\n"
