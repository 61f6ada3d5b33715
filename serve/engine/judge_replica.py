"""The Ray Serve replica in which candidates are judged."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from alpharay.judge.limits import Limits
from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.problem import StdioCase, StdioTests, Tests
from alpharay.judge.program import Program
from alpharay.judge.supervise import Supervisor
from alpharay.judge.verdict import Verdict
from alpharay.judge.workspace.repo import RepoTests
from alpharay.serve.environment import JUDGE_NICENESS
from alpharay.serve.loopback import keep_local
from alpharay.serve.sections import Judge as JudgeConfig
from alpharay.serve.state.cluster_state import JudgeState
from alpharay.serve.transport.channel import ChannelAddress, ChannelServer
from alpharay.serve.transport.local_judging import capture
from alpharay.serve.transport.shared_tests import KnownTests

log = logging.getLogger("ray.serve")

_REPORT_S = 1.0
_CLUSTER_STATE_S = 5.0


class Judge:
    """One pool of sandboxed workers on this node."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, config: JudgeConfig, cluster_state: Any
    ) -> None:
        keep_local()
        os.nice(JUDGE_NICENESS)  # of this thread, and of the sandboxes that it starts
        self._cluster_state = cluster_state
        self._name = uuid4().hex
        # Counted where it runs: nodes differ in their cores.
        self._pool = JudgePool(
            config.worker_count, config.sandbox, max_queued=config.max_queued, packages=config.packages
        )
        self._tests = KnownTests()
        self._channels = ChannelServer(self, ("judge", "run", "capture", "ready_for"))
        self._supervisor = Supervisor(log)
        try:
            await self._pool.start()
        except Exception as error:
            await self._report(JudgeState(failed=True, detail=str(error)))
            raise
        self._supervisor.every("judge reports", _REPORT_S, self._report_up, at_most_s=2 * _CLUSTER_STATE_S)

    async def channel(self, address: ChannelAddress, first: Sequence[Any]) -> None:
        """Serves the methods below to one ingress until it has closed the channel."""
        await self._channels.serve(address, first)

    async def judge(
        self,
        key: str,
        tests: Tests | None,
        completion: str | Program,
        limits: Limits,
        language: str,
        group: str,
        observe: bool,
    ) -> Verdict | None:
        """Runs one completion; cancelling it ends the run. Groups (requests) take turns.

        key: of the tests; None in their place: as they were sent before. Returns None where they are not known.
        observe: nothing is compared.
        """
        known = self._tests.get(key, tests)
        if known is None:
            return None
        return await self._pool.judge(
            known, completion, limits=limits, language=language, group=group, observe=observe
        )

    async def run(self, program: str, limits: Limits, group: str) -> Verdict:
        """Runs a completion that holds one Python program, on empty input; cancelling it ends the run."""
        # Tests of its own each time: verdicts are remembered for as long as their tests live.
        nothing = StdioTests((StdioCase("", ""),))
        return await self._pool.judge(
            nothing, program, limits=limits, group=group, keep_output=True, observe=True
        )

    async def capture(
        self, program: Program, source: str | RepoTests, limits: Limits, language: str, group: str
    ) -> Verdict:
        """Runs a program once; the verdict holds all its output."""
        return await capture(self._pool, program, source, limits, language, group)

    async def ready_for(self, key: str, tests: Tests, language: str) -> bool:
        """Raises JudgeError that names what is missing if programs in that language cannot run."""
        await self._pool.ready_for(language, self._tests.get(key, tests) or tests)
        return True

    async def _report_up(self) -> None:
        await self._report(JudgeState(layer=str(self._pool.layer), queue_depth=self._pool.queue_depth))

    async def _report(self, state: JudgeState) -> None:
        try:
            async with asyncio.timeout(
                _CLUSTER_STATE_S
            ):  # a handle waits for a lost replica as long as it takes
                await self._cluster_state.report_judge.remote(self._name, state, self._failures())
        except Exception:
            log.warning("the judge's state cannot be reported to the cluster state", exc_info=True)

    def _failures(self) -> dict[str, int]:
        return {**self._supervisor.failures, **self._pool.failures}

    async def __del__(self) -> None:
        self._channels.close()
        await self._supervisor.close()
        await self._pool.close()
