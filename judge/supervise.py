"""Long-lived tasks that outlive their own faults.

A task of asyncio's that raises is silently over: whatever it watched is watched no more. A task kept here is logged,
counted and restarted, after a pause that grows while it keeps failing.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
# What has run for so long before it failed starts again at the first pause.
_WELL_AFTER_S = 60.0


class Supervisor:
    """Keeps the tasks of one process alive until it is closed.

    failed: called with the name of a task that failed. failures: per name, how often one did.
    """

    def __init__(self, log: logging.Logger, failed: Callable[[str], None] = lambda _: None) -> None:
        self._log = log
        self._failed = failed
        self.failures: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Runs `run()` for ever: it is called again when it raises or returns. name: in logs and counts."""
        task = asyncio.create_task(self._keep(name, run), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def every(
        self, name: str, seconds: float, run: Callable[[], Awaitable[None]], *, at_most_s: float
    ) -> None:
        """Calls `run()`, pauses for so many seconds, and so on. A call that takes longer than `at_most_s` has failed."""

        async def turns() -> None:
            while True:
                async with asyncio.timeout(at_most_s):
                    await run()
                await asyncio.sleep(seconds)

        self.keep(name, turns)

    async def close(self) -> None:
        """Cancels all tasks and waits until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_S
        while True:
            began = loop.time()
            try:
                await run()
                reason = "ended"
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                reason = "was cancelled from within"
            except Exception as error:
                reason = f"failed: {type(error).__name__}: {error}"
                self._log.exception("the task %r failed", name)
            self.failures[name] += 1
            self._failed(name)
            if loop.time() - began >= _WELL_AFTER_S:
                pause = FIRST_PAUSE_S
            self._log.error("the task %r %s; it starts again in %g s", name, reason, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def _is_cancelled() -> bool:
    """Whether the task itself is to end, not something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
