"""The Ray Serve replica in which candidates are judged."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from alpharay.judge.limits import Limits
from alpharay.judge.pool import JudgePool
from alpharay.judge.problem import Tests
from alpharay.judge.verdict import Verdict
from alpharay.serve.hub import JudgeState

log = logging.getLogger("ray.serve")

_REPORT_S = 1.0
_HUB_S = 5.0


class Judge:
    """One pool of sandboxed workers on this node."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, workers: int, sandbox: str, hub: Any
    ) -> None:
        self._hub = hub
        self._pool = JudgePool(workers=workers, sandbox=sandbox)
        try:
            await self._pool.start()
        except Exception as error:
            await self._report(JudgeState(failed=True, detail=str(error)))
            raise
        self._task = asyncio.create_task(self._report_forever())

    async def judge(
        self, tests: Tests, completion: str, limits: Limits, language: str, group: str
    ) -> Verdict:
        """Runs one completion; cancelling it ends the run. Groups (requests) take turns."""
        return await self._pool.judge(tests, completion, limits=limits, language=language, group=group)

    async def _report_forever(self) -> None:
        while True:
            await self._report(JudgeState(layer=str(self._pool.layer), queue_depth=self._pool.queue_depth))
            await asyncio.sleep(_REPORT_S)

    async def _report(self, state: JudgeState) -> None:
        try:
            async with asyncio.timeout(_HUB_S):  # a handle waits for a lost replica as long as it takes
                await self._hub.report_judge.remote(state)
        except Exception:
            log.warning("the hub cannot be told how the judge is", exc_info=True)

    async def __del__(self) -> None:
        await self._pool.close()
