"""Verdicts on candidates."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class VerdictKind(StrEnum):
    """The contract's names, which appear in files, answers and metrics."""

    ACCEPTED = "accepted"
    WRONG_ANSWER = "wrong_answer"
    RUNTIME_ERROR = "runtime_error"
    COMPILE_ERROR = "compile_error"
    NO_PROGRAM = "no_program"
    OUTPUT_LIMIT = "output_limit"
    SECURITY_VIOLATION = "security_violation"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    JUDGE_ERROR = "judge_error"  # ours: never counted against the candidate


CORRECTNESS_FAILURES = frozenset(
    {
        VerdictKind.WRONG_ANSWER,
        VerdictKind.RUNTIME_ERROR,
        VerdictKind.COMPILE_ERROR,
        VerdictKind.NO_PROGRAM,
        VerdictKind.OUTPUT_LIMIT,
        VerdictKind.SECURITY_VIOLATION,
    }
)
EFFICIENCY_FAILURES = frozenset({VerdictKind.TIME_LIMIT, VerdictKind.MEMORY_LIMIT})

DETAIL_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What a single run printed and how it ended, where that itself was requested.

    compiled: whether it came to run; else stderr is the compiler's. code: exit code, negative for a signal; None where
    it was ended from outside. files: those that were wanted back and are there.
    """

    compiled: bool
    stdout: str = ""
    stderr: str = ""
    code: int | None = None
    files: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one candidate on one set of tests.

    verdict: of the first case that failed, or accepted. passed, total: cases; those not run did not pass.
    cpu_s: CPU seconds of the slowest case, what the time limit is held against. total_cpu_s: of all runs. wall_s: seconds of
    all runs.
    memory_mb: peak resident memory in MiB, the interpreter included.
    detail: at most 2 KiB for people, never a hidden expected output.
    stdout: the first 4 KiB printed in the last case that ran, when asked for.
    failed_case: the index of the first case that failed, from 0; None: none did, or no case was reached.
    outputs: where a candidate was only observed, a digest of what it gave for each case; None: nothing.
    captured: of a single run, all of what it printed, when asked for.
    """

    verdict: VerdictKind
    passed: int
    total: int
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_mb: float = 0.0
    detail: str = ""
    stdout: str | None = None
    failed_case: int | None = None
    outputs: tuple[str | None, ...] = ()
    captured: Captured | None = None
    total_cpu_s: float = 0.0

    def __post_init__(self) -> None:
        data = self.detail.encode("utf-8", "backslashreplace")
        if len(data) > DETAIL_BYTES:
            cut = data[: DETAIL_BYTES - 4].decode("utf-8", "ignore") + " …"
            object.__setattr__(self, "detail", cut)

    def fields(self) -> dict[str, Any]:
        """As files and answers hold it."""
        return {
            "verdict": self.verdict.value,
            "passed": self.passed,
            "total": self.total,
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
            "memory_mb": self.memory_mb,
            "detail": self.detail,
        }

    @property
    def accepted(self) -> bool:
        return self.verdict is VerdictKind.ACCEPTED
