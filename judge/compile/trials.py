"""Which compiled languages this machine can judge: each tried at its first use, again where that failed."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from alpharay.judge.compile.trial import try_language
from alpharay.judge.errors import SandboxUnavailable, TrialFailed, WorkerDied
from alpharay.judge.sandbox.worker import Worker

log = logging.getLogger(__name__)

# From a failed trial to the next one; it doubles while they fail.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0


@dataclass(slots=True)
class _Trial:
    """pause_s: after it, should it fail. again_at: when the next one may begin; None: it has not failed."""

    pause_s: float
    task: asyncio.Task[None] | None = None
    again_at: float | None = None


class Trials:
    """The trials of one pool. worker: makes the sandbox for one, which is not started yet."""

    def __init__(self, worker: Callable[[], Worker]) -> None:
        self._worker = worker
        self._trials: dict[str, _Trial] = {}

    async def passed(self, language: str) -> None:
        """Waits for the language's trial. Raises what it failed with: LanguageUnavailable, TrialFailed."""
        trial = self._trials.get(language)
        if trial is None or (trial.again_at is not None and trial.again_at <= _now()):
            pause_s = FIRST_PAUSE_S if trial is None else min(2 * trial.pause_s, LONGEST_PAUSE_S)
            trial = self._trials[language] = _Trial(pause_s)
            trial.task = asyncio.create_task(self._try(language, trial))
        assert trial.task is not None
        await asyncio.shield(trial.task)

    async def close(self) -> None:
        tasks = [trial.task for trial in self._trials.values() if trial.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _try(self, language: str, trial: _Trial) -> None:
        worker = self._worker()
        try:
            await worker.start()
            await try_language(worker, language)
        except BaseException as error:
            trial.again_at = _now() + trial.pause_s
            log.warning("the trial of %s failed: %s", language, error)
            if isinstance(error, SandboxUnavailable | WorkerDied):
                raise TrialFailed(f"{language} programs cannot be judged now: {error}") from None
            raise
        finally:
            worker.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
