"""One candidate against its tests: runs the cases, compares outside the sandbox, makes the verdict."""

import hashlib
import json
import secrets
import signal
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from alpharay.judge import compare
from alpharay.judge.compile.compiling import Binaries, Binary, address_space
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.pool.checking import Checking
from alpharay.judge.pool.interacting import talk
from alpharay.judge.pool.patience import Patience
from alpharay.judge.pool.repo import run_repo
from alpharay.judge.problem import CallCase, CallTests, CodeTests, StdioTests, Tests
from alpharay.judge.program import Program, program_of
from alpharay.judge.sandbox.worker import Ended, Order
from alpharay.judge.verdict import Captured, Verdict, VerdictKind
from alpharay.judge.verdicts import Failure, JudgeFault, failure_of
from alpharay.judge.workspace.files import fetched
from alpharay.judge.workspace.patch import PatchError
from alpharay.judge.workspace.repo import PATCH, RepoTests, patch_in

STDOUT_BYTES = 4096
# Cases in one message to the sandbox, and bytes that they may read and print in all.
AHEAD, AHEAD_BYTES = 8, 16 << 20
DIGEST = 16  # hexadecimal digits by which outputs are told apart


class Runner(Protocol):
    """What runs one order: a worker, or a stand-in that fails on purpose."""

    async def run(self, order: Order) -> Ended: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One candidate to judge. every_case: go on after a failed case, to count all that pass.

    observe: outputs are told instead of compared; a program that ran out of time is not run any further.
    capture: the verdict tells all of what the last run printed.
    """

    tests: Tests
    completion: str | Program
    limits: Limits
    language: str = "python"
    keep_output: bool = False
    every_case: bool = False
    observe: bool = False
    capture: bool = False


def total_cases(tests: Tests) -> int:
    """How many cases the tests count; a test program counts as one."""
    if isinstance(tests, RepoTests):
        return len(tests.verify)
    return 1 if isinstance(tests, CodeTests) else len(tests.cases)


def submission(tests: Tests, completion: str | Program, language: str) -> Program | None:
    """What of a model's answer is judged: a program, or a patch where the tests ask for one."""
    if isinstance(completion, str) and isinstance(tests, RepoTests) and tests.answer == PATCH:
        patch = patch_in(completion)
        return None if patch is None else Program(patch, fenced=True)
    return program_of(completion, language)


async def judge(runner: Runner, job: Job, compiled: Binaries | None = None) -> Verdict:
    """The verdict on the job. compiled: what was compiled before.

    Raises WorkerDied and RunRefused; everything that a candidate does becomes a verdict.
    """
    total, binaries = total_cases(job.tests), compiled or Binaries()
    program = submission(job.tests, job.completion, job.language)
    if program is None:
        wanted = "patch" if isinstance(job.tests, RepoTests) and job.tests.answer == PATCH else "program"
        return Verdict(VerdictKind.NO_PROGRAM, 0, total, detail=f"the answer holds no {wanted}")
    tally = _Tally(total, job.keep_output)
    try:
        source = program.source.encode("utf-8", "surrogatepass")
        if isinstance(job.tests, StdioTests):
            binary = None
            if LANGUAGES[job.language].compiled:
                binary = await binaries.get(runner, job.language, source, program.label)
            if isinstance(binary, Failure):
                tally.failed(0, binary)
            else:
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
            await _call(runner, job, job.tests, source, tally)
        else:
            await _code(runner, job, job.tests, source, tally)
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


class _Tally:
    """Adds up the runs of one candidate."""

    def __init__(self, total: int, keep_output: bool) -> None:
        self._total = total
        self._keep = keep_output
        self._passed = 0
        self._failure: tuple[int, Failure] | None = None
        self._cpu = self._total_cpu = self._wall = 0.0
        self._memory = 0
        self._stdout: str | None = "" if keep_output else None
        self._last: Ended | None = None
        self.note = ""
        self.outputs: dict[int, str] = {}

    def saw(self, case: int, output: bytes) -> None:
        """Any output will do; what it was is told in short."""
        self._passed += 1
        self.outputs[case] = hashlib.sha256(output).hexdigest()[:DIGEST]

    def ran(self, ended: Ended, cpu_s: float) -> None:
        self._cpu = max(self._cpu, cpu_s)
        self._total_cpu += ended.cpu_s
        self._wall += ended.wall_s
        self._last = ended
        self._memory = max(self._memory, ended.memory)
        if self._keep:
            self._stdout = ended.stdout[:STDOUT_BYTES].decode("utf-8", "replace")

    def passed(self) -> None:
        self._passed += 1

    def failed(self, case: int, failure: Failure) -> None:
        if self._failure is None:
            self._failure = (case, failure)

    def judged(self, failure: Failure | None) -> None:
        """The next case, in their order."""
        if failure is None:
            self.passed()
        else:
            self.failed(self._passed, failure)

    def captured(self, fetch: tuple[str, ...] = ()) -> Captured:
        """What the last run printed; a compiler's words where it came to none. fetch: files that it was to leave."""
        if self._last is None:
            return Captured(compiled=False, stderr=self._failure[1].detail if self._failure else "")
        ended = self._last
        return Captured(
            compiled=True,
            stdout=ended.stdout.decode("utf-8", "replace"),
            stderr=ended.stderr.decode("utf-8", "replace"),
            code=ended.code if ended.ended == "exit" else None,
            files=tuple(fetched(ended.answers, fetch).items()) if fetch else (),
        )

    def verdict(self, *, observed: bool = False) -> Verdict:
        kind, detail = VerdictKind.ACCEPTED, self.note
        failed_case = None
        if self._failure is not None:
            case, failure = self._failure
            kind, failed_case = failure.kind, case
            where = f"case {case + 1} of {self._total}: " if self._total > 1 and failure.of_case else ""
            detail = where + failure.detail + (f" ({self.note})" if self.note else "")
        return Verdict(
            kind,
            self._passed,
            self._total,
            cpu_s=round(self._cpu, 6),
            wall_s=round(self._wall, 6),
            memory_mb=round(self._memory / (1 << 20), 2),
            detail=detail,
            stdout=self._stdout,
            failed_case=failed_case,
            total_cpu_s=round(self._total_cpu, 6),
            outputs=tuple(map(self.outputs.get, range(self._total))) if observed else (),
        )


async def _again_near_the_limit(runner: Runner, order: Order, first: Ended, cpu_s: float) -> Ended:
    """A run that ended by itself a little over its limit may have been slowed by its neighbours: once more."""
    if first.ended == "exit" and cpu_s > order.limits.cpu_s:
        second = await runner.run(order)
        return second if second.cpu_s < first.cpu_s else first
    return first


async def _stdio(
    runner: Runner,
    job: Job,
    tests: StdioTests,
    source: bytes,
    binary: Binary | None,
    checking: Checking,
    tally: _Tally,
) -> None:
    launch = () if binary is None else binary.launch(job.limits)
    if binary is not None and binary.static > address_space(job.limits):
        detail = f"its global data takes {binary.static >> 20} MiB, the limit is {job.limits.memory_mb} MiB"
        tally.failed(0, Failure(VerdictKind.MEMORY_LIMIT, detail, of_case=False))
        return
    limits = _with_room(_started(job), max((len(case.output) for case in tests.cases), default=0))
    if tests.interactor is not None:
        await _interactive(job, checking, source, binary, limits, launch, tally)
        return
    place, ahead, patience = 0, 1, Patience(limits)
    while place < len(tests.cases):
        given = _inputs(tests, place, ahead)
        order = Order(
            mode="stdio" if binary is None else "native",
            program=source if binary is None else b"",
            preamble=_preamble(tests),
            binary=None if binary is None else binary.descriptor,
            given=given[0],
            rest=tuple(given[1:]),
            limits=limits,
            more=binary is None and place + len(given) < len(tests.cases),
            guard_s=patience.guard_s,
            launch=launch,
            language=job.language if launch else "",
            file=binary.file if binary is not None else "",
        )
        first = await runner.run(order)
        for ended, its in zip((first, *first.rest), given, strict=False):
            patience.ran(ended)
            again = replace(order, given=its, rest=(), more=binary is None and place < len(tests.cases) - 1)
            if not await _case(runner, job, checking, place, again, ended, tally) or patience.over:
                return
            place += 1
        # A program that fails does so at once more often than later: what is run ahead is no more than what went well.
        ahead = min(2 * ahead, AHEAD, max(1, AHEAD_BYTES // limits.output_bytes))


async def _interactive(
    job: Job,
    checking: Checking,
    source: bytes,
    binary: Binary | None,
    limits: Limits,
    launch: tuple[str, ...],
    tally: _Tally,
) -> None:
    patience = Patience(limits)
    for place in range(len(checking.tests.cases)):
        ended, failure = await talk(
            checking, place, source, binary, limits, _preamble(checking.tests), launch
        )
        patience.ran(ended)
        tally.ran(ended, ended.cpu_s)
        if failure is None:
            tally.passed()
            continue
        tally.failed(place, failure)
        if not job.every_case or not failure.of_case or patience.over:
            return


def _preamble(tests: StdioTests | CallTests | CodeTests) -> bytes:
    return tests.preamble.encode("utf-8", "surrogatepass")


def _inputs(tests: StdioTests, place: int, ahead: int) -> list[bytes]:
    """Of the next case and, up to AHEAD_BYTES, of those after it: `ahead` at most."""
    given: list[bytes] = []
    for case in tests.cases[place : place + ahead]:
        if given and sum(map(len, given)) + len(case.input) > AHEAD_BYTES:
            break
        given.append(case.input.encode("utf-8", "surrogatepass"))
    return given


async def _case(
    runner: Runner, job: Job, checking: Checking, place: int, order: Order, ended: Ended, tally: _Tally
) -> bool:
    """Tells the tally how one run went. order: what would run it again. Returns whether to go on."""
    ended = await _again_near_the_limit(runner, order, ended, ended.cpu_s)
    tally.ran(ended, ended.cpu_s)
    failure = failure_of(ended, ended.cpu_s, order.limits)
    if failure is None and job.observe:
        tally.saw(place, b" ".join(ended.stdout.split()))
        return True
    if failure is None:
        failure = await checking.wrong(place, ended.stdout)
    if failure is None:
        tally.passed()
        return True
    tally.failed(place, failure)
    if not (job.every_case or job.observe) or not failure.of_case:
        return False
    return not (job.observe and failure.kind is VerdictKind.TIME_LIMIT)


async def _call(runner: Runner, job: Job, tests: CallTests, source: bytes, tally: _Tally) -> None:
    given = b"".join(_case_line(case) for case in tests.cases)
    start, limits = 0, _with_room(job.limits, sum(compare.length(case.output) for case in tests.cases))
    patience = Patience(limits)
    while start < len(tests.cases):
        order = Order(
            mode="call",
            program=source,
            preamble=_preamble(tests),
            given=given,
            limits=limits,
            entry=tests.entry_point,
            start=start,
            guard_s=patience.guard_s,
        )
        ended = await runner.run(order)
        patience.ran(ended)
        costs = _costs(ended)
        ended = await _again_near_the_limit(runner, order, ended, max(costs, default=0.0))
        costs = _costs(ended)
        tally.ran(ended, max(costs, default=0.0))
        answers = ended.answers.split(b"\n")[:-1][: len(tests.cases) - start]
        for case, answer, cost in zip(range(start, len(tests.cases)), answers, costs, strict=False):
            if job.observe:
                failure = _slow(cost, limits) or (
                    None if answer[:1] in b"VH" else Failure.by_error("no value")
                )
            else:
                failure = _slow(cost, limits) or _unlike(answer, tests.cases[case], tests)
            if failure is None and job.observe:
                tally.saw(case, answer)
            elif failure is None:
                tally.passed()
            else:
                tally.failed(case, failure)
        start += len(answers)
        failure = failure_of(ended, costs[-1], limits)
        if failure is None and start < len(tests.cases):
            failure = Failure(VerdictKind.RUNTIME_ERROR, "the program ended before it answered")
        if failure is None:
            return
        if start < len(tests.cases):
            tally.failed(start, failure)
        # All cases were answered: a program that then hangs or dies has still answered, unless it used too much.
        elif failure.kind in (VerdictKind.MEMORY_LIMIT, VerdictKind.OUTPUT_LIMIT):
            tally.failed(start - 1, failure)
        # A program that dies while it is loaded would die again for every case.
        goes_on = failure.kind is VerdictKind.RUNTIME_ERROR or (job.every_case and not job.observe)
        if "R" not in ended.phase or not goes_on or patience.over:
            return
        start += 1


def _started(job: Job) -> Limits:
    """The limits of a run: the problem's, and what the language's runtime takes by itself."""
    startup = LANGUAGES[job.language].startup
    limits = job.limits
    return replace(limits, cpu_s=limits.cpu_s + startup.cpu_s, memory_mb=limits.memory_mb + startup.memory_mb)


def _with_room(limits: Limits, expected: int) -> Limits:
    """The output limit never stands in the way of an answer as long as the expected one."""
    return replace(limits, output_bytes=max(limits.output_bytes, 2 * expected + 65536))


def _case_line(case: CallCase) -> bytes:
    return json.dumps({"args": case.args, "kwargs": case.kwargs}).encode() + b"\n"


def _costs(ended: Ended) -> list[float]:
    """CPU seconds of each answered case, and of what came after the last answer."""
    times = [0.0, *ended.marks, max(ended.cpu_s, *ended.marks, 0.0)]
    return [after - before for before, after in pairwise(times)]


def _slow(cpu_s: float, limits: Limits) -> Failure | None:
    if cpu_s <= limits.cpu_s:
        return None
    return Failure(VerdictKind.TIME_LIMIT, f"{cpu_s:.2f} s of CPU time, the limit is {limits.cpu_s:g} s")


def _unlike(answer: bytes, case: CallCase, tests: CallTests) -> Failure | None:
    kind, text = answer[:1], answer[1:].decode("utf-8", "replace")
    if kind == b"V":
        if compare.same_value(case.output, text, tests.float_tolerance, strict_types=tests.strict_types):
            return None
        return Failure(VerdictKind.WRONG_ANSWER, f"returned {text[:200]}{' …' if len(text) > 200 else ''}")
    if kind == b"H":
        if compare.same_wide_value(case.output, text, tests.float_tolerance, strict_types=tests.strict_types):
            return None
        return Failure(VerdictKind.WRONG_ANSWER, "returned a value with very large integers")
    said = _told(text)
    if kind == b"N":
        return Failure(VerdictKind.WRONG_ANSWER, f"returned what is no JSON value: {said}")
    return Failure.by_error(said)


def _told(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "an answer that cannot be read"
    return value[:600] if isinstance(value, str) else "an answer that cannot be read"


async def _code(runner: Runner, job: Job, tests: CodeTests, source: bytes, tally: _Tally) -> None:
    """The tests in a process of their own, or in the candidate's where they cannot do without."""
    nonce = secrets.token_hex(16)
    order = Order(
        mode="apart",
        program=source,
        preamble=_preamble(tests),
        given=tests.code.encode("utf-8", "surrogatepass"),
        limits=job.limits,
        entry=tests.entry_point or "",
    )
    ended = await runner.run(order)
    kind, said = _first_answer(ended)
    if kind == b"N":
        tally.note = f"the tests ran in the candidate's own process: {said}"
        order = replace(order, mode="together", nonce=nonce.encode())
        ended = await runner.run(order)
    ended = await _again_near_the_limit(runner, order, ended, ended.cpu_s)
    kind, said = _first_answer(ended)
    tally.ran(ended, ended.cpu_s)
    if kind == b"B" and order.mode == "apart":  # which was run first: afterwards only a candidate says so
        raise JudgeFault(said)
    # A number or a mass of values that it answered may be what the tests are at work on, and is then its own.
    heard_much = order.mode == "apart" and ended.answers.startswith(b"V")
    if ended.ended == "tests" and not heard_much:
        raise JudgeFault("the test program itself used up its CPU time")
    passed = kind == b"P" and (order.mode == "apart" or said == nonce)
    if passed and order.mode == "apart":
        ended = replace(ended, code=0)  # it was still waiting for questions when it was stopped
    failure = failure_of(ended, ended.cpu_s, job.limits)
    if passed and failure is None:
        tally.passed()
        return
    if failure is None or failure.kind is VerdictKind.RUNTIME_ERROR:
        if ended.ended == "tests" or ended.tests == -signal.SIGPROF:
            said = "what it answered kept its tests busy for longer than they may be"
            failure = Failure(VerdictKind.TIME_LIMIT, said)
        elif kind == b"W":
            failure = Failure(VerdictKind.WRONG_ANSWER, said)
        elif kind == b"E" and not (failure and ended.code > 0):
            failure = Failure.by_error(said)
        else:
            failure = failure or Failure(VerdictKind.RUNTIME_ERROR, "the program ended before its tests did")
    tally.failed(0, failure)


def _first_answer(ended: Ended) -> tuple[bytes, str]:
    answer = next((line for line in ended.answers.split(b"\n") if not line.startswith(b"V")), b"")
    return answer[:1], _told(answer[1:].decode("utf-8", "replace"))
