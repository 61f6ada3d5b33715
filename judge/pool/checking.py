"""Whether what a candidate printed is right: by comparison, or by the tests' own checker in the sandbox.

A checker may fail in any way, and a candidate may bring that about by what it prints: that is never the candidate's
verdict, but an error of the tests, reported as `judge_error`.
"""

import math
import re
from dataclasses import dataclass

from alpharay.judge import compare
from alpharay.judge.checkers import ANSWER, FEEDBACK, INPUT, JUDGE_MESSAGE, OUTPUT, TEAM_MESSAGE, JudgeProgram
from alpharay.judge.compile.compiling import Binaries, Binary, Files
from alpharay.judge.guest.candidate import CRASHED
from alpharay.judge.guest.scratch import SIZE_BYTES
from alpharay.judge.pool.job import case_prefix
from alpharay.judge.problem import StdioCase, StdioTests
from alpharay.judge.sandbox.order import Ended, Order, Runner
from alpharay.judge.verdict import VerdictKind
from alpharay.judge.verdicts import Failure, JudgeFault, beyond_limits, signal_name

# What testlib's checkers end with: the output is wrong, is malformed, has too much or too little in it.
_WRONG = {1: "", 2: "presentation error: ", 4: "presentation error: ", 8: "unexpected end of output: "}
_FAILED, _POINTS = 3, 7
_ACCEPTED, _REFUSED = 42, 43  # of validators of the Kattis form
_LONGEST_MESSAGE = 600
_MISSING_HEADER = re.compile(r"fatal error: (\S+): No such file or directory")
_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


@dataclass(frozen=True, slots=True)
class Checking:
    """Decides about outputs for the cases of some tests."""

    runner: Runner
    tests: StdioTests
    binaries: Binaries

    async def wrong(self, index: int, stdout: bytes) -> Failure | None:
        """Why the output is not right for that case; None: it is. Raises JudgeFault, RunRefused and WorkerDied."""
        case = self.tests.cases[index]
        if self.tests.checker is None:
            same = compare.same_output(case.output, stdout, self.tests.float_tolerance, self.tests.comparison)
            return None if same else Failure(VerdictKind.WRONG_ANSWER, f"printed {excerpt(stdout)}")
        try:
            ended = await self._run(self.tests.checker, case, stdout)
            complaint = decided(self.tests.checker, ended, "checker")
        except JudgeFault as fault:
            raise JudgeFault(f"{case_prefix(index, len(self.tests.cases))}{fault}") from None
        return None if complaint is None else Failure(VerdictKind.WRONG_ANSWER, complaint)

    async def _run(self, checker: JudgeProgram, case: StdioCase, stdout: bytes) -> Ended:
        input_bytes, answer = encoded(case.input), encoded(case.output)
        writes: tuple[str, ...] = ()
        if checker.style == "kattis":
            arguments = (INPUT, ANSWER, "", *checker.arguments)
            files: Files = ((INPUT, input_bytes), (ANSWER, answer))
            writes, stdin = FEEDBACK, stdout
        else:
            arguments = (INPUT, OUTPUT, ANSWER, *checker.arguments)
            files = ((INPUT, input_bytes), (OUTPUT, stdout), (ANSWER, answer))
            stdin = b""
        binary = await compiled(self.runner, checker, self.binaries, "checker")
        if binary is None:  # what a compiled one includes is in it
            files += beside(checker)
        order = Order(
            mode="checker",
            program=encoded(checker.source) if binary is None else b"",
            binary=None if binary is None else binary.descriptor,
            input=stdin,
            limits=checker.limits,
            files=files,
            writes=writes,
            arguments=arguments,
            more=binary is None,
        )
        return await self.runner.run(order)


async def compiled(runner: Runner, program: JudgeProgram, binaries: Binaries, role: str) -> Binary | None:
    """The tests' own program; None: it is Python and needs no compiler. Raises JudgeFault: it does not compile."""
    if program.language == "python":
        return None
    source = program.source
    for name, _ in program.files:  # which lie beside it, where only quotes look
        source = re.sub(rf"(?m)^(\s*#\s*include\s*)<{re.escape(name)}>", rf'\1"{name}"', source)
    binary = await binaries.get(runner, program.language, encoded(source), files=beside(program))
    if isinstance(binary, Failure):
        missing = _MISSING_HEADER.search(binary.detail)
        if missing:
            raise JudgeFault(_missing(role, missing[1]))
        raise JudgeFault(f"the {role} of the tests does not compile: {binary.detail}")
    return binary


def excerpt(stdout: bytes) -> str:
    if not stdout.strip():
        return "nothing"
    text = stdout[:200].decode("utf-8", "replace")
    return repr(text) + (" …" if len(stdout) > 200 else "")


def require_decision(program: JudgeProgram, ended: Ended, role: str) -> None:
    """Raises JudgeFault where the tests' own program did not end by itself with an exit code of its choice."""
    stderr = ended.stderr.decode("utf-8", "replace").strip()
    if "C" in ended.phase:
        raise JudgeFault(f"the {role} of the tests does not compile: {stderr[-_LONGEST_MESSAGE:]}")
    if ended.phase[-1:] not in ("R", "L"):
        raise JudgeFault(
            f"the {role} of the tests could not be started: {stderr[-_LONGEST_MESSAGE:] or ended.ended}"
        )
    beyond = beyond_limits(ended, ended.cpu_s, program.limits)
    if beyond is not None:
        raise JudgeFault(f"the {role} of the tests failed: {beyond.kind}, {beyond.detail}")
    if ended.code == CRASHED:
        stderr, _, name = stderr.rpartition("\0")
        missing = _MISSING_MODULE.match(stderr.rpartition("\n")[2])
        if missing and name == "ModuleNotFoundError":
            raise JudgeFault(_missing(role, missing[1]))
        raise JudgeFault(f"the {role} of the tests failed with {name[:60]}{_shown(program, stderr)}")
    if ended.code < 0 or ended.ended != "exit":
        how = f"killed by {signal_name(-ended.code)}" if ended.code < 0 else ended.ended
        raise JudgeFault(f"the {role} of the tests failed: {how}{_shown(program, stderr)}")


def decided(checker: JudgeProgram, ended: Ended, role: str) -> str | None:
    """Why the output is wrong; None: it is right. role: what messages call it. Raises JudgeFault."""
    require_decision(checker, ended, role)
    if checker.style == "kattis":
        texts = (content.decode("utf-8", "replace").strip() for content in written(ended.answers))
        files = dict(zip(FEEDBACK, texts, strict=False))
        team = files.get(TEAM_MESSAGE, "")
        complaint = f"{team}\n{files.get(JUDGE_MESSAGE, '')}".strip() if checker.public else team
        if ended.code == _ACCEPTED:
            return None
        if ended.code == _REFUSED:
            return complaint[:_LONGEST_MESSAGE] or f"refused by the {role}"
        raise JudgeFault(
            f"the {role} of the tests ended with {ended.code}; validators of the kattis style end with "
            f"{_ACCEPTED} or {_REFUSED}{_shown(checker, ended.stderr.decode('utf-8', 'replace'))}"
        )
    stderr = ended.stderr.decode("utf-8", "replace").strip()
    complaint = stderr[:_LONGEST_MESSAGE] if checker.public else ""
    if ended.code == 0:
        return None
    if ended.code in _WRONG:
        return _WRONG[ended.code] + (complaint or f"refused by the {role}")
    if ended.code == _POINTS:
        points = _points(stderr)
        return None if points >= checker.full_points else f"{points:g} of {checker.full_points:g} points"
    known = (
        "said that it cannot decide (exit code 3)" if ended.code == _FAILED else f"ended with {ended.code}"
    )
    raise JudgeFault(
        f"the {role} of the tests {known}; those of the testlib style end with 0, 1, 2 or 7{_shown(checker, stderr)}"
    )


def _points(message: str) -> float:
    """Testlib writes `points 0.5 …`, older versions the number first. Raises JudgeFault."""
    words = message.split()
    first = words[1] if words[:1] == ["points"] and len(words) > 1 else "".join(words[:1])
    try:
        points = float(first)
    except ValueError:
        points = math.nan
    if not math.isfinite(points):
        raise JudgeFault("the checker of the tests gave points (exit code 7) and did not say how many")
    return points


def _missing(role: str, name: str) -> str:
    return (
        f"the {role} of the tests needs {name}, which is not there; put it beside the source: "
        f'"files": {{"{name}{"" if "." in name else ".py"}": …}}'
    )


def _shown(program: JudgeProgram, message: str) -> str:
    """Its own words, which may quote the expected answer."""
    message = message.strip()
    if not message:
        return ""
    return (
        f": {message[-_LONGEST_MESSAGE:]}"
        if program.public
        else ' (what it says is kept back; "public": true shows it)'
    )


def written(answers: bytes) -> list[bytes]:
    """The files that a run wrote, in the order of `Order.writes`."""
    files = []
    while answers:
        size = int.from_bytes(answers[-SIZE_BYTES:], "big")
        end = len(answers) - SIZE_BYTES
        files.append(answers[end - size : end])
        answers = answers[: end - size]
    return files[::-1]


def beside(program: JudgeProgram) -> Files:
    return tuple((name, encoded(content)) for name, content in program.files)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
