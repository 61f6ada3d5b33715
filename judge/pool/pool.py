"""Warm sandboxes that judge candidates one after another, for one event loop."""

import asyncio
import logging
import os
import resource
from collections.abc import Hashable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from alpharay.judge.compile.compiling import Binaries
from alpharay.judge.compile.trials import Trials
from alpharay.judge.errors import JudgeError, QueueFull, RunRefused, WorkerDied
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.pool.cache import ResultCache, digest
from alpharay.judge.pool.job import Job, submission, total_cases
from alpharay.judge.pool.judging import judge
from alpharay.judge.pool.queue import FairQueue
from alpharay.judge.problem import Tests, check_language, languages_of
from alpharay.judge.program import Program
from alpharay.judge.sandbox.choice import start_safest
from alpharay.judge.sandbox.layer import Layer
from alpharay.judge.sandbox.worker import Worker
from alpharay.judge.supervise import Supervisor
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.judge.workspace.repo import RepoTests
from alpharay.judge.workspace.shown import pytest_files

log = logging.getLogger(__name__)

# A sandbox may be killed while it runs a candidate, and its successor while it starts.
ATTEMPTS = 4

# Open files of this process: what it has use for without sandboxes, and each with a message of several runs under way.
_DESCRIPTORS, _OF_A_SANDBOX = 1024, 64


def _make_room_for_descriptors(workers: int) -> None:
    """The usual soft limit, 1024, is for programs that use `select`; 40 sandboxes come to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS + _OF_A_SANDBOX * workers
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Ticket:
    """One program's way through the pool. waiting: how many callers want its verdict."""

    __slots__ = ("group", "job", "task", "verdict", "waiting")

    def __init__(self, job: Job, group: Hashable) -> None:
        self.job: Job | None = job
        self.group = group
        self.waiting = 0
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[Verdict] | None = None


class JudgePool:
    """N sandboxes and a fair queue in front of them.

    workers: sandboxes, each judging one candidate at a time; None: half the cores, at least two.
    sandbox: `auto` takes the strongest layer that passes its self-test; `full` and `landlock` insist on one.
    max_queued: candidates that may wait; more are refused with QueueFull.
    packages: a virtual environment whose packages Python programs may import; None: the standard library alone.
    """

    def __init__(
        self,
        workers: int | None = None,
        sandbox: str = "auto",
        *,
        max_queued: int = 20_000,
        packages: Path | None = None,
    ) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        self.workers = workers if workers is not None else max(2, cores // 2)
        if self.workers < 1:
            raise JudgeError(f"judge.workers must be at least 1, got {workers}")
        self._sandbox = sandbox
        self._packages = packages
        self._max_queued = max_queued
        self._queue: FairQueue[_Ticket] = FairQueue()
        self._cache: ResultCache[_Ticket] = ResultCache()
        self._running = False
        self._lanes = Supervisor(log)
        self._layer: Layer | None = None
        self._trials = Trials(self._spare_worker)
        self._binaries = Binaries()

    @property
    def queue_depth(self) -> int:
        """Candidates that wait for a sandbox."""
        return len(self._queue)

    @property
    def failures(self) -> Mapping[str, int]:
        """Per name of a task of its own, how often it failed and was started again."""
        return self._lanes.failures

    @property
    def layer(self) -> str:
        """The layer in use, once started."""
        return self._layer.name if self._layer else ""

    async def start(self) -> None:
        """Raises SandboxUnavailable, saying what is missing, when no layer is safe."""
        _make_room_for_descriptors(self.workers)
        first = await start_safest(self._sandbox, self._packages)
        self._layer = first.layer
        workers = [first, *(Worker(first.layer) for _ in range(self.workers - 1))]
        try:
            await asyncio.gather(*(worker.start() for worker in workers[1:]))
        except BaseException:
            for worker in workers:
                worker.close()
            raise
        for worker in workers:
            self._lanes.keep("judge lane", partial(self._lane, worker))
        self._running = True

    async def judge(
        self,
        tests: Tests,
        completion: str | Program,
        *,
        limits: Limits | None = None,
        language: str = "python",
        keep_output: bool = False,
        every_case: bool = False,
        observe: bool = False,
        capture: bool = False,
        group: Hashable = None,
    ) -> Verdict:
        """The verdict on a model's answer. Cancelling ends the run at once and frees its sandbox.

        completion: a model's answer, or the program itself.
        The same program against the same tests object is run once while that object lives.
        every_case: run on after a failed case, so that `passed` counts all that pass; otherwise `stdio` tests
        stop at the first. observe: nothing is compared; the verdict carries `outputs`. capture: and
        all that the last run printed. group: whose turn this takes in the queue, such as a request's id.
        Nothing that the candidate does raises; an internal error is the verdict `judge_error`.
        Raises QueueFull, ProblemError, LanguageUnavailable and TrialFailed for a language that cannot be judged with these
        tests or on this machine, and JudgeError when the pool is not running.
        """
        await self.ready_for(language, tests)
        program = submission(tests, completion, language)
        job = Job(
            tests=tests,
            completion=program or completion,
            limits=limits or Limits(),
            language=language,
            keep_output=keep_output,
            every_case=every_case,
            observe=observe,
            capture=capture,
        )
        written = (program.source, program.fenced, program.label) if program else (None,)
        key = digest(*written, job.limits, language, keep_output, every_case, observe, capture)
        ticket = self._cache.get(tests, key)
        if ticket is None:
            if len(self._queue) >= self._max_queued:
                raise QueueFull(f"{self._max_queued} candidates already wait for the judge; try again later")
            ticket = _Ticket(job, group)
            self._cache.put(tests, key, ticket)
            self._queue.put(ticket, group)
        ticket.waiting += 1
        try:
            verdict = await asyncio.shield(ticket.verdict)
        except asyncio.CancelledError:
            ticket.waiting -= 1
            if not ticket.waiting and not ticket.verdict.done():
                self._cache.drop(tests, key)
                self._queue.discard(ticket, ticket.group)
                ticket.verdict.cancel()
                if ticket.task is not None:
                    ticket.task.cancel()
            raise
        if verdict.verdict is VerdictKind.JUDGE_ERROR:
            self._cache.drop(tests, key)  # ours: worth another try
        else:
            self._cache.weigh(tests, key, verdict)
        return verdict

    async def ready_for(self, language: str, tests: Tests) -> None:
        """Tries a compiled language at its first use. Raises what `judge` would."""
        if not self._running:
            raise JudgeError("the judge pool is not running; call start() first")
        check_language(language, tests)
        if isinstance(tests, RepoTests) and tests.uses_pytest:
            await asyncio.to_thread(pytest_files)  # seconds, once
        for each in sorted({language, *languages_of(tests)}):
            if LANGUAGES[each].compiled:
                await self._trials.passed(each)

    def _spare_worker(self) -> Worker:
        assert self._layer is not None
        return Worker(self._layer)

    async def close(self) -> None:
        """Ends every run and every sandbox; what still waits gets `judge_error`."""
        self._running = False
        await self._trials.close()
        await self._lanes.close()
        while len(self._queue):
            _answer(await self._queue.get(), "the judge was closed")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _lane(self, worker: Worker) -> None:
        """One sandbox's life: it takes tickets in turn and is restarted when it dies."""
        ticket: _Ticket | None = None
        try:
            while True:
                ticket = await self._queue.get()
                if ticket.verdict.done() or ticket.job is None:
                    continue
                ticket.task = asyncio.create_task(self._attempts(worker, ticket.job))
                await asyncio.wait({ticket.task})
                if not ticket.task.cancelled() and not ticket.verdict.done():
                    ticket.verdict.set_result(ticket.task.result())
                elif not ticket.verdict.done():
                    _answer(ticket, "the run was cancelled")
                ticket.job = ticket.task = None  # what is remembered must not keep the tests alive
        finally:
            if ticket is not None:
                if ticket.task is not None:
                    ticket.task.cancel()
                    await asyncio.gather(ticket.task, return_exceptions=True)
                _answer(ticket, "internal error of the judge" if self._running else "the judge was closed")
            worker.close()

    async def _attempts(self, worker: Worker, job: Job) -> Verdict:
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                if not worker.alive:
                    await worker.start()
                try:
                    return await judge(worker, job, self._binaries)
                finally:
                    worker.drop()
            except WorkerDied as error:
                log.warning("a judge sandbox died and is replaced: %s", error)
                worker.close()
                reason = str(error)
            except RunRefused as error:
                log.warning("a run is repeated: %s", error)
                reason = str(error)
            except JudgeError as error:
                log.warning("a judge sandbox cannot be replaced: %s", error)
                reason = str(error)
            except Exception as error:  # ours: the candidate must not pay for it
                log.exception("the judge failed")
                worker.close()
                reason = f"{type(error).__name__}: {error}"
        return Verdict(VerdictKind.JUDGE_ERROR, 0, total_cases(job.tests), detail=reason)


def _answer(ticket: _Ticket, reason: str) -> None:
    if not ticket.verdict.done():
        total = total_cases(ticket.job.tests) if ticket.job else 0
        ticket.verdict.set_result(Verdict(VerdictKind.JUDGE_ERROR, 0, total, detail=reason))
