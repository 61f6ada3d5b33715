"""A judge in this process, as `/v1/judge` and `/run_code` use it where they are served without Ray."""

from __future__ import annotations

import asyncio

from alpharay.judge.errors import JudgeError, LanguageUnavailable
from alpharay.judge.limits import Limits
from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.problem import StdioCase, StdioTests, Tests
from alpharay.judge.program import Program
from alpharay.judge.verdict import Verdict
from alpharay.judge.workspace.repo import RepoTests
from alpharay.serve.transport.clients import JudgeUnavailable


async def capture(
    pool: JudgePool, program: Program, source: str | RepoTests, limits: Limits, language: str, group: str
) -> Verdict:
    """One run on that input, or in that folder. Each is made: what a program prints may depend on time and chance."""
    # Tests of its own: verdicts are remembered for as long as their tests live.
    tests: Tests = source if isinstance(source, RepoTests) else StdioTests((StdioCase(source, ""),))
    return await pool.judge(
        tests, program, limits=limits, language=language, group=group, observe=True, capture=True
    )


class LocalJudging:
    """The calls of `JudgeClient` that a door makes. started: until then they wait."""

    def __init__(self, pool: JudgePool, started: asyncio.Event) -> None:
        self._pool = pool
        self._started = started

    async def judge(
        self, tests: Tests, completion: str | Program, limits: Limits, language: str, group: str
    ) -> Verdict:
        await self._started.wait()
        try:
            return await self._pool.judge(tests, completion, limits=limits, language=language, group=group)
        except LanguageUnavailable:
            raise
        except JudgeError as error:
            raise JudgeUnavailable(str(error)) from error

    async def capture(
        self, program: Program, source: str | RepoTests, limits: Limits, language: str, group: str
    ) -> Verdict:
        await self._started.wait()
        try:
            return await capture(self._pool, program, source, limits, language, group)
        except LanguageUnavailable:
            raise
        except JudgeError as error:
            raise JudgeUnavailable(str(error)) from error

    async def ready_for(self, language: str, tests: Tests) -> None:
        await self._started.wait()
        try:
            await self._pool.ready_for(language, tests)
        except LanguageUnavailable:
            raise
        except JudgeError as error:
            raise JudgeUnavailable(str(error)) from error
