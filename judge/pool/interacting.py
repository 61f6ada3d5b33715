"""Interactive problems: the candidate talks with a program of the tests', and both are in sandboxes of their own.

The interactor decides, unless the candidate fails by itself first. Where both wait, that is the candidate's
`time_limit`; an interactor that fails by itself is an error of the tests, reported as `judge_error`.
"""

import re
import signal
from dataclasses import replace

from alpharay.judge.checkers import ANSWER, FEEDBACK, INPUT, OUTPUT, JudgeProgram
from alpharay.judge.compile.compiling import Binary
from alpharay.judge.guest.candidate import CRASHED
from alpharay.judge.limits import Limits
from alpharay.judge.pool.checking import Checking, beside, compiled, decided, encoded, written
from alpharay.judge.pool.job import case_prefix
from alpharay.judge.problem import StdioCase
from alpharay.judge.sandbox.order import Ended, Interactor, Order
from alpharay.judge.verdict import VerdictKind
from alpharay.judge.verdicts import Failure, JudgeFault, failure_of, last_line

ROLE = "interactor"
ACCEPTS = {"testlib": 0, "kattis": 42}
# How an interactor ends that was left alone in the middle of a conversation.
_LEFT = ("EOFError", "BrokenPipeError")
_LEFT_BY_RUNTIMES = re.compile(
    rb"^(?:Exception in .*NoSuchElementException|.*java\.io\..*Broken pipe|Error: .*EPIPE)", re.MULTILINE
)


async def talk(
    checking: Checking,
    index: int,
    source: bytes,
    binary: Binary | None,
    limits: Limits,
    preamble: bytes,
    launch: tuple[str, ...] = (),
) -> tuple[Ended, Failure | None]:
    """One case: how the candidate's run ended, and why it failed. Raises JudgeFault, RunRefused and WorkerDied."""
    tests = checking.tests
    interactor, case = tests.interactor, tests.cases[index]
    assert interactor is not None
    try:
        interactor_binary = await compiled(checking.runner, interactor, checking.binaries, ROLE)
        order = _order(interactor, interactor_binary, case, source, binary, limits, preamble)
        if binary is not None and launch:
            order = replace(order, launch=launch, language=binary.language, file=binary.file)
        ended = await checking.runner.run(order)
        failure = _failure(interactor, ended, limits)
    except JudgeFault as fault:
        raise JudgeFault(f"{case_prefix(index, len(tests.cases))}{fault}") from None
    if failure is None and tests.checker is not None:
        # What it wrote into its output file is what there is to check.
        failure = await checking.wrong(index, written(ended.answers)[0])
    return ended, failure


def _order(
    interactor: JudgeProgram,
    interactor_binary: Binary | None,
    case: StdioCase,
    source: bytes,
    binary: Binary | None,
    limits: Limits,
    preamble: bytes,
) -> Order:
    kattis = interactor.style == "kattis"
    files = ((INPUT, encoded(case.input)), (ANSWER, encoded(case.output)))
    return Order(
        mode="interactive",
        program=source if binary is None else b"",
        preamble=preamble if binary is None else b"",
        binary=None if binary is None else binary.descriptor,
        input=b"",
        limits=limits,
        files=files if interactor_binary is not None else (*files, *beside(interactor)),
        writes=FEEDBACK if kattis else (OUTPUT,),
        arguments=(*((INPUT, ANSWER, "") if kattis else (INPUT, OUTPUT, ANSWER)), *interactor.arguments),
        interactor=Interactor(
            program=encoded(interactor.source) if interactor_binary is None else b"",
            binary=None if interactor_binary is None else interactor_binary.descriptor,
            limits=interactor.limits,
            accepts=ACCEPTS[interactor.style],
        ),
    )


def _failure(interactor: JudgeProgram, ended: Ended, limits: Limits) -> Failure | None:
    """Raises JudgeFault."""
    if ended.tests is None:  # it did not come so far
        return failure_of(ended, ended.cpu_s, limits) or Failure(
            VerdictKind.RUNTIME_ERROR, "the program ended before the conversation began"
        )
    if ended.ended == "tests":
        raise JudgeFault(
            f"the {ROLE} of the tests failed: it used up its time, {interactor.limits.cpu_s:g} s"
        )
    if "C" in ended.tests_phase:
        stderr = ended.tests_stderr.decode("utf-8", "replace").strip()
        raise JudgeFault(f"the {ROLE} of the tests does not compile: {stderr[-600:]}")
    if ended.ended == "wall":
        wall = f"{ended.wall_s:.1f} s passed, {ended.cpu_s:.2f} s of CPU time used"
        waits = (
            "it was idle" if ended.tests == ACCEPTS[interactor.style] else f"idle: it and the {ROLE} waited"
        )
        return Failure(VerdictKind.TIME_LIMIT, f"{waits}: {wall}")
    own = _own(ended, limits)
    if own is not None:
        return own
    interactor_run = _as_run(ended)
    name = ended.tests_stderr.rpartition(b"\0")[2].decode("utf-8", "replace")
    # The end of input reaches it only when the candidate has ended, whatever that closes before.
    if ended.first and (
        (interactor_run.code == CRASHED and name in _LEFT) or interactor_run.code == -signal.SIGPIPE
    ):
        return Failure(VerdictKind.WRONG_ANSWER, f"it ended before the {ROLE} had what it needs")
    wrong = decided(interactor, interactor_run, ROLE)
    return None if wrong is None else Failure(VerdictKind.WRONG_ANSWER, wrong)


def _own(ended: Ended, limits: Limits) -> Failure | None:
    """What the candidate did by itself, not because its interactor had gone."""
    content = ended.tests == 0 or ended.tests == ACCEPTS["kattis"]
    if not ended.first and ended.ended == "exit" and not content:
        ended = replace(ended, code=0)  # it was ended with its interactor
    failure = failure_of(ended, ended.cpu_s, limits)
    if failure is None or failure.kind is not VerdictKind.RUNTIME_ERROR or ended.first:
        return failure
    left = ended.code == -signal.SIGPIPE or last_line(ended.stderr).partition(":")[0] in _LEFT
    return None if left or _LEFT_BY_RUNTIMES.search(ended.stderr) else failure


def _as_run(ended: Ended) -> Ended:
    """The interactor's own end, as that of a run. Its limits were seen to while it ran."""
    assert ended.tests is not None
    phase = ended.tests_phase or "SR"
    return replace(
        ended,
        ended="exit",
        code=ended.tests,
        phase=phase,
        stderr=ended.tests_stderr,
        cpu_s=0.0,
        memory=0,
        sizes=(0, len(ended.tests_stderr)),
    )
