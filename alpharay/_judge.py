"""Judging from Python: `judge()` for scripts and notebooks, `AsyncJudge` for event loops."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack, cast, overload

from alpharay.judge.limits import Limits
from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.problem import Problem, Tests, parse_tests
from alpharay.judge.verdict import Verdict

AnyTests = Tests | Problem | Mapping[str, Any]


class AsyncJudge:
    """Warm sandboxes for one event loop.

    ::

        async with AsyncJudge(workers=2) as judge:
            verdict = await judge(tests, completion)

    workers: sandboxes, each running one program at a time; None: half the cores, at least two.
    sandbox: `auto`, `full` or `landlock`. Raises SandboxUnavailable on entering where no layer is safe.
    packages: a virtual environment whose packages Python programs may import.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        sandbox: str = "auto",
        packages: str | os.PathLike[str] | None = None,
    ) -> None:
        self._pool = JudgePool(workers, sandbox, packages=None if packages is None else Path(packages))

    async def __aenter__(self) -> Self:
        await self._pool.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()

    async def __call__(
        self,
        tests: AnyTests,
        completion: str,
        *,
        language: str | None = None,
        time_limit_s: float | None = None,
        memory_limit_mb: int | None = None,
    ) -> Verdict:
        """The verdict on a model's answer: its last code block of the language, or all of it where that parses.

        tests: as in a problem file (`{"kind": "stdio", "cases": […]}`), or parsed; or a whole `Problem`, whose
        language and limits apply where none are given. time_limit_s: CPU seconds a case. memory_limit_mb: MiB.
        Cancelling ends the run. Raises ProblemError, LanguageUnavailable and QueueFull.
        """
        limits = Limits()
        if isinstance(tests, Problem):
            limits, language = tests.limits(), language or tests.language
            tests = tests.tests
        elif isinstance(tests, Mapping):
            tests = parse_tests(dict(tests))
        limits = Limits(
            cpu_s=limits.cpu_s if time_limit_s is None else time_limit_s,
            memory_mb=limits.memory_mb if memory_limit_mb is None else memory_limit_mb,
        )
        return await self._pool.judge(tests, completion, limits=limits, language=language or "python")


class CallOptions(TypedDict, total=False):
    """What calling an `AsyncJudge` takes beside tests and answer."""

    language: str | None
    time_limit_s: float | None
    memory_limit_mb: int | None


class Options(CallOptions, total=False):
    """What `judge` takes: also what an `AsyncJudge` is made with."""

    workers: int | None
    sandbox: str
    packages: str | os.PathLike[str] | None


@overload
def judge(tests: AnyTests, completions: str, **options: Unpack[Options]) -> Verdict: ...
@overload
def judge(
    tests: AnyTests, completions: list[str] | tuple[str, ...], **options: Unpack[Options]
) -> list[Verdict]: ...


def judge(
    tests: AnyTests, completions: str | list[str] | tuple[str, ...], **options: Unpack[Options]
) -> Verdict | list[Verdict]:
    """Judges one answer, or several against the same tests; their verdicts come in the same order.

    Starts sandboxes and ends them again (about half a second): give it all answers at once, or keep an
    `AsyncJudge`. The options are those of `AsyncJudge` and of calling it. Works where an event loop runs
    already, as in a notebook.
    """
    if isinstance(tests, Mapping):
        tests = parse_tests(dict(tests))
    several = [completions] if isinstance(completions, str) else list(completions)

    workers, sandbox = options.pop("workers", None), options.pop("sandbox", "auto")
    packages = options.pop("packages", None)
    call = cast("CallOptions", options)

    async def run() -> list[Verdict]:
        async with AsyncJudge(workers, sandbox=sandbox, packages=packages) as judging:
            calls = [judging(tests, completion, **call) for completion in several]
            return list(await asyncio.gather(*calls))

    verdicts = _in_a_loop_of_its_own(run)
    return verdicts[0] if isinstance(completions, str) else verdicts


def _in_a_loop_of_its_own(run: Callable[[], Coroutine[Any, Any, list[Verdict]]]) -> list[Verdict]:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    outcome: dict[str, Any] = {}

    def target() -> None:
        try:
            outcome["verdicts"] = asyncio.run(run())
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=target, name="alpharay-judge")
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    verdicts: list[Verdict] = outcome["verdicts"]
    return verdicts
