"""Verdicts for many programs at once, by the project's own judge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from alpharay.judge import JudgePool, Problem, StdioTests, Verdict, VerdictKind, parse_problem

ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Coverage:
    """A problem with only the cases up to one level: what an endpoint is rewarded for."""

    problem: Problem
    levels: tuple[int, ...]


def covered(raw: dict[str, Any], up_to: int) -> Coverage:
    """The problem's cases of levels 1..up_to, in their order."""
    problem = parse_problem(raw)
    assert isinstance(problem.tests, StdioTests)
    cases = tuple(case for case in problem.tests.cases if (case.level or 1) <= up_to)
    levels = tuple(case.level or 1 for case in cases)
    return Coverage(replace(problem, tests=replace(problem.tests, cases=cases)), levels)


class Judge:
    """A judge pool for code that is not asynchronous. The same program for the same `Coverage` is run once."""

    def __init__(self, workers: int = 1) -> None:
        self._loop = asyncio.new_event_loop()
        self._pool = JudgePool(workers=workers, max_queued=100_000)

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._pool.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._pool.close())
        self._loop.close()

    def verdicts(self, candidates: Sequence[tuple[Coverage, str]]) -> list[Verdict]:
        """One verdict each, in order. Raises RuntimeError when the judge itself keeps failing."""
        return self._loop.run_until_complete(self._all(candidates))

    async def _all(self, candidates: Sequence[tuple[Coverage, str]]) -> list[Verdict]:
        return list(await asyncio.gather(*(self._verdict(covered, text) for covered, text in candidates)))

    async def _verdict(self, covered: Coverage, text: str) -> Verdict:
        tests, limits = covered.problem.tests, covered.problem.limits()
        for _ in range(ATTEMPTS):
            verdict = await self._pool.judge(tests, text, limits=limits)
            # A machine that is overloaded can starve a program until it looks as if it slept.
            starved = verdict.verdict is VerdictKind.TIME_LIMIT and verdict.cpu_s < limits.cpu_s / 2
            if not starved and verdict.verdict is not VerdictKind.JUDGE_ERROR:
                return verdict
            tests = replace(tests)  # another object: what is known of these tests' programs is not believed
        if starved:
            return verdict  # three times: it does sleep
        raise RuntimeError(f"the judge failed {ATTEMPTS} times on {covered.problem.id}: {verdict.detail}")
