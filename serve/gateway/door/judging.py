"""Candidates of one request on their way through the judge: bounded before they begin, and all let go of at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from alpharay.judge.errors import JudgeError
from alpharay.judge.limits import Limits
from alpharay.judge.problem import Tests
from alpharay.judge.program import Program
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.judge.workspace.repo import RepoTests
from alpharay.serve.errors import RequestError, malformed, no_capacity
from alpharay.serve.gateway.door.wire import JudgeCandidate, JudgeRequest, verdict_object
from alpharay.serve.gateway.streaming import EventSource, let_go
from alpharay.serve.state.metrics import Counts
from alpharay.serve.tracing import OFF, RequestTrace
from alpharay.serve.transport.clients import JudgeUnavailable

log = logging.getLogger("ray.serve")

# Candidates of one batch that are with the judge at once: enough for the cores of any machine, and the rest wait here.
_AHEAD = 256
_RETRY_AFTER_S = 2


class DoorJudge(Protocol):
    """What of a judge the door calls."""

    async def judge(
        self, tests: Tests, completion: str | Program, limits: Limits, language: str, group: str
    ) -> Verdict: ...

    async def capture(
        self, program: Program, source: str | RepoTests, limits: Limits, language: str, group: str
    ) -> Verdict: ...

    async def ready_for(self, language: str, tests: Tests) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """The client of a request. group: its turn in the fair queue. key: the name of its API key; None on a server without keys.

    trace: of OpenTelemetry.
    """

    group: str
    key: str | None = None
    trace: RequestTrace = OFF


class Door:
    """The candidates that all requests hold, at most so many, and the judge behind them."""

    def __init__(self, judge: DoorJudge, counts: Counts, most: int) -> None:
        self.judge = judge
        self.counts = counts
        self.held = 0
        self._most = most
        self._by_key: Counter[str] = Counter()

    def take(self, count: int, requester: Requester) -> None:
        """Takes places for a request's candidates, to be given back.

        A key that holds some gets no more than are left to all others then: however many it asks for, there is room for
        the next key. Raises RequestError: 429 beyond that share, 503 when all are taken.
        """
        left = self._most - self.held
        if count > left:
            self.counts.rejections.labels("judge_queue_full").inc()
            raise no_capacity(
                f"{self.held} of {self._most} candidates wait for the judge or are being judged, {count} more do not fit",
                retry_after_s=_RETRY_AFTER_S,
            )
        mine = self._by_key[requester.key] if requester.key is not None else 0
        if mine and mine + count > left:
            self.counts.rejections.labels("key_limit").inc()
            raise RequestError(
                429,
                f"the key {requester.key!r} holds {mine} candidates of the judge's queue, {count} more are beyond its share; "
                f"try again in {_RETRY_AFTER_S} s",
                code="rate_limit_exceeded",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.held += count
        if requester.key is not None:
            self._by_key[requester.key] += count

    def give_back(self, count: int, requester: Requester) -> None:
        self.held -= count
        if requester.key is not None:
            self._by_key[requester.key] -= count
            if not self._by_key[requester.key]:
                del self._by_key[requester.key]  # keys come and go

    @contextmanager
    def holding(self, count: int, requester: Requester) -> Iterator[None]:
        self.take(count, requester)
        try:
            yield
        finally:
            self.give_back(count, requester)

    async def ready_for(self, language: str, tests: Tests) -> None:
        """Raises RequestError: 400 for a language that cannot be judged here, 503 while nothing can."""
        try:
            await self.judge.ready_for(language, tests)
        except JudgeUnavailable as error:
            raise no_capacity(f"the judge cannot be reached: {error}") from None
        except JudgeError as error:
            raise malformed(str(error), param="language") from None

    async def verdict(self, candidate: JudgeCandidate, requester: Requester) -> Verdict:
        """A fault of the judge's is a verdict too. Raises JudgeUnavailable."""
        began, started_ns = time.monotonic(), time.time_ns()
        verdict = await self.judge.judge(
            candidate.tests, candidate.answer, candidate.limits, candidate.language, requester.group
        )
        self.count("judge", verdict, time.monotonic() - began, requester)
        requester.trace.ran(candidate.index, candidate.language, verdict.verdict.value, started_ns)
        return verdict

    def count(self, endpoint: str, verdict: Verdict, seconds: float, requester: Requester) -> None:
        """Adds a verdict to the metrics, and its CPU time to the usage of its key."""
        if requester.key is not None:
            self.counts.key_judge_cpu.labels(requester.key).inc(verdict.total_cpu_s)
        self.counts.judged.labels(endpoint, verdict.verdict.value).inc()
        self.counts.judge_duration.labels(verdict.verdict.value).observe(seconds)


class JudgedBatch(EventSource):
    """The verdicts of a batch as lines of JSON, each as soon as it is there. `open()` takes its places."""

    def __init__(self, door: Door, request: JudgeRequest, requester: Requester) -> None:
        self._door = door
        self._request = request
        self._requester = requester
        self._rest: Iterator[JudgeCandidate] = iter(request.candidates)
        self._taken = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._left = 0
        self._until: float | None = None

    async def open(self) -> None:
        self._until = deadline(self._request.wait_s)
        self._door.take(len(self._request.candidates), self._requester)
        self._left = self._taken = len(self._request.candidates)
        kinds = {
            (candidate.language, id(candidate.tests)): candidate for candidate in self._request.candidates
        }
        with contextlib.suppress(TimeoutError):  # each candidate's line then says so
            async with asyncio.timeout_at(self._until):
                for candidate in kinds.values():
                    await self._door.ready_for(candidate.language, candidate.tests)
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
        self._door.give_back(self._taken, self._requester)
        self._taken = 0

    def _begin(self) -> None:
        candidate = next(self._rest, None)
        if candidate is not None:
            task = asyncio.create_task(self._judge(candidate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _judge(self, candidate: JudgeCandidate) -> None:
        verdict = await in_time(self._door, candidate, self._requester, self._until)
        # Not when its line is read: a client that reads nothing holds no place of the judge's.
        self._door.give_back(1, self._requester)
        self._taken -= 1
        self._lines.put_nowait(line(candidate, verdict, detailed=self._request.detailed))
        self._begin()


def deadline(wait_s: float) -> float | None:
    """By the event loop's clock; None: never."""
    return None if math.isinf(wait_s) else asyncio.get_running_loop().time() + wait_s


async def single(
    door: Door, candidate: JudgeCandidate, requester: Requester, wait_s: float
) -> Verdict | None:
    """The verdict on a request's only candidate, or None where it takes longer. Raises RequestError."""
    until = deadline(wait_s)
    try:
        async with asyncio.timeout_at(until):
            await door.ready_for(candidate.language, candidate.tests)
    except TimeoutError:
        return None
    return await in_time(door, candidate, requester, until)


async def in_time(
    door: Door, candidate: JudgeCandidate, requester: Requester, until: float | None
) -> Verdict | None:
    """The verdict, or None where it takes longer. A judge that is lost meanwhile, or fails, is a `judge_error`."""
    try:
        async with asyncio.timeout_at(until):
            return await door.verdict(candidate, requester)
    except TimeoutError:
        return None
    except (JudgeUnavailable, JudgeError) as error:
        reason = str(error)
    except Exception as error:
        log.exception("a candidate of a batch could not be judged")
        reason = f"a fault of the server: {type(error).__name__}"
    return Verdict(VerdictKind.JUDGE_ERROR, 0, 0, detail=reason)


def line(candidate: JudgeCandidate, verdict: Verdict | None, *, detailed: bool) -> bytes:
    return json.dumps(verdict_object(candidate, verdict, detailed=detailed)).encode() + b"\n"
