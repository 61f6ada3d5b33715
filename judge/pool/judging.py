"""One candidate against its tests: runs the cases, compares outside the sandbox, makes the verdict."""

from dataclasses import replace

from alpharay.judge.compile.compiling import Binaries, Binary, address_space
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.pool.calling import run_calls
from alpharay.judge.pool.checking import Checking, encoded
from alpharay.judge.pool.code import run_code
from alpharay.judge.pool.interacting import talk
from alpharay.judge.pool.job import (
    Job,
    again_near_the_limit,
    preamble_of,
    started,
    submission,
    total_cases,
    with_room,
)
from alpharay.judge.pool.patience import Patience
from alpharay.judge.pool.repo import run_repo
from alpharay.judge.pool.tally import Tally
from alpharay.judge.problem import CallTests, StdioTests
from alpharay.judge.program import Program
from alpharay.judge.sandbox.order import Ended, Order, Runner
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.judge.verdicts import Failure, JudgeFault, failure_of
from alpharay.judge.workspace.patch import PatchError
from alpharay.judge.workspace.repo import PATCH, RepoTests

# Cases in one message to the sandbox, and bytes that they may read and print in all.
AHEAD, AHEAD_BYTES = 8, 16 << 20


async def judge(runner: Runner, job: Job, compiled: Binaries | None = None) -> Verdict:
    """The verdict on the job. compiled: what was compiled before.

    Raises WorkerDied and RunRefused; everything that a candidate does becomes a verdict.
    """
    total, binaries = total_cases(job.tests), compiled or Binaries()
    program = submission(job.tests, job.completion, job.language)
    if program is None:
        wanted = "patch" if isinstance(job.tests, RepoTests) and job.tests.answer == PATCH else "program"
        return Verdict(VerdictKind.NO_PROGRAM, 0, total, detail=f"the answer holds no {wanted}")
    tally = Tally(total, job.keep_output)
    try:
        source = encoded(program.source)
        binary: Binary | Failure | None = None
        if LANGUAGES[job.language].compiled:
            binary = await binaries.get(runner, job.language, source, program.label)
        if isinstance(binary, Failure):
            tally.failed(0, binary)
        elif isinstance(job.tests, StdioTests):
            checking = Checking(runner, job.tests, binaries)
            await _stdio(runner, job, job.tests, source, binary, checking, tally)
        elif isinstance(job.tests, RepoTests):
            runs = run_repo(runner, job.tests, program.source, job.limits, captures=job.capture)
            try:
                async for ended, failure in runs:
                    tally.ran(ended, ended.cpu_s)
                    tally.judged(failure)
            except PatchError as error:
                tally.failed(0, Failure(VerdictKind.COMPILE_ERROR, str(error), of_case=False))
        elif isinstance(job.tests, CallTests):
            await run_calls(runner, job, job.tests, source, binary, tally)
        else:
            await run_code(runner, job, job.tests, source, tally)
    except JudgeFault as fault:
        return Verdict(VerdictKind.JUDGE_ERROR, 0, total, detail=str(fault))
    verdict = _unfenced(program, tally.verdict(observed=job.observe))
    if not job.capture:
        return verdict
    return replace(
        verdict, captured=tally.captured(job.tests.fetch if isinstance(job.tests, RepoTests) else ())
    )


def _unfenced(program: Program, verdict: Verdict) -> Verdict:
    """An answer without a code block that does not even compile was not a program."""
    if program.fenced or verdict.verdict is not VerdictKind.COMPILE_ERROR:
        return verdict
    detail = "the answer has no code block and is not a program as a whole"
    return replace(verdict, verdict=VerdictKind.NO_PROGRAM, detail=detail)


async def _stdio(
    runner: Runner,
    job: Job,
    tests: StdioTests,
    source: bytes,
    binary: Binary | None,
    checking: Checking,
    tally: Tally,
) -> None:
    launch = () if binary is None else binary.launch(job.limits)
    if binary is not None and binary.static > address_space(job.limits):
        detail = f"its global data takes {binary.static >> 20} MiB, the limit is {job.limits.memory_mb} MiB"
        tally.failed(0, Failure(VerdictKind.MEMORY_LIMIT, detail, of_case=False))
        return
    limits = with_room(started(job), max((len(case.output) for case in tests.cases), default=0))
    if tests.interactor is not None:
        await _interactive(job, checking, source, binary, limits, launch, tally)
        return
    index, ahead, patience = 0, 1, Patience(limits)
    while index < len(tests.cases):
        inputs = _inputs(tests, index, ahead)
        order = Order(
            mode="stdio" if binary is None else "native",
            program=source if binary is None else b"",
            preamble=preamble_of(tests),
            binary=None if binary is None else binary.descriptor,
            input=inputs[0],
            rest=tuple(inputs[1:]),
            limits=limits,
            more=binary is None and index + len(inputs) < len(tests.cases),
            guard_s=patience.guard_s,
            launch=launch,
            language=job.language if launch else "",
            file=binary.file if binary is not None else "",
        )
        first = await runner.run(order)
        for ended, stdin in zip((first, *first.rest), inputs, strict=False):
            patience.ran(ended)
            again = replace(order, input=stdin, rest=(), more=binary is None and index < len(tests.cases) - 1)
            if not await _case(runner, job, checking, index, again, ended, tally) or patience.over:
                return
            index += 1
        # A program that fails does so at once more often than later: what is run ahead is no more than what went well.
        ahead = min(2 * ahead, AHEAD, max(1, AHEAD_BYTES // limits.output_bytes))


async def _interactive(
    job: Job,
    checking: Checking,
    source: bytes,
    binary: Binary | None,
    limits: Limits,
    launch: tuple[str, ...],
    tally: Tally,
) -> None:
    patience = Patience(limits)
    for index in range(len(checking.tests.cases)):
        ended, failure = await talk(
            checking, index, source, binary, limits, preamble_of(checking.tests), launch
        )
        patience.ran(ended)
        tally.ran(ended, ended.cpu_s)
        if failure is None:
            tally.passed()
            continue
        tally.failed(index, failure)
        if not job.every_case or not failure.of_case or patience.over:
            return


def _inputs(tests: StdioTests, start: int, ahead: int) -> list[bytes]:
    """Of the next case and, up to AHEAD_BYTES, of those after it: `ahead` at most."""
    inputs: list[bytes] = []
    for case in tests.cases[start : start + ahead]:
        if inputs and sum(map(len, inputs)) + len(case.input) > AHEAD_BYTES:
            break
        inputs.append(encoded(case.input))
    return inputs


async def _case(
    runner: Runner, job: Job, checking: Checking, index: int, order: Order, ended: Ended, tally: Tally
) -> bool:
    """Adds one run to the tally. order: what would run it again. Returns whether to continue."""
    ended = await again_near_the_limit(runner, order, ended, ended.cpu_s)
    tally.ran(ended, ended.cpu_s)
    failure = failure_of(ended, ended.cpu_s, order.limits)
    if failure is None and job.observe:
        tally.saw(index, b" ".join(ended.stdout.split()))
        return True
    if failure is None:
        failure = await checking.wrong(index, ended.stdout)
    if failure is None:
        tally.passed()
        return True
    tally.failed(index, failure)
    if not (job.every_case or job.observe) or not failure.of_case:
        return False
    return not (job.observe and failure.kind is VerdictKind.TIME_LIMIT)
