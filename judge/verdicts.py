"""Maps how a run ended to the candidate's failure, or to the judge's."""

import json
import re
import signal
import sys
from dataclasses import dataclass

from alpharay.judge.limits import Limits
from alpharay.judge.sandbox.order import Ended
from alpharay.judge.verdict import VerdictKind

# A process that dies of a failed allocation deep in C does so with its memory nearly used up.
NEAR_MEMORY = 0.9
# What programs that cannot get memory say at their end, and those that did not catch a refusal of the sandbox's.
OUT_OF_MEMORY = re.compile(
    rb"^(?:terminate called after throwing an instance of 'std::bad_alloc'|memory allocation of \d+ bytes failed"
    rb"|FATAL ERROR: .*heap out of memory|(?:Exception in .*|Caused by: |Uncaught )?java\.lang\.OutOfMemoryError"
    rb"|RangeError: Array buffer allocation failed|(?:fatal error: |runtime: )+(?:out of memory|cannot (?:allocate|map|reserve)))",
    re.MULTILINE,
)
REFUSED = re.compile(
    rb"^(?:(?:Uncaught )?Error: (?:\w+ )?E(?:PERM|ACCES)\b|Exception in .*java\.(?:io|nio|net)\..*"
    rb"(?:AccessDenied|Permission denied|Operation not permitted)"
    rb"|panic: .*(?:permission denied|operation not permitted)$)",
    re.MULTILINE,
)
# How Go's runtime begins what it says at a program's end; traces of all that ran follow.
GO_ENDS = re.compile(rb"^(?:panic: |fatal error: |runtime: ).*?^goroutine \d+ ", re.MULTILINE | re.DOTALL)
SCANNED_BYTES = 8192


class JudgeFault(Exception):
    """The judge failed, not the candidate."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a candidate fails. of_case: it belongs to one case; otherwise every case would fail alike."""

    kind: VerdictKind
    detail: str
    of_case: bool = True

    @classmethod
    def by_error(cls, message: str) -> "Failure":
        """By the last line of a traceback. A candidate that fakes one only changes the name of its failure."""
        text = message.encode("utf-8", "replace")
        if re.match(r"MemoryError\b", message) or OUT_OF_MEMORY.match(text):
            return cls(VerdictKind.MEMORY_LIMIT, f"out of memory: {message}")
        if re.match(r"PermissionError: \[Errno (1|13)\]", message) or REFUSED.match(text):
            return cls(VerdictKind.SECURITY_VIOLATION, f"refused by the sandbox: {message}")
        missing = re.match(r"ModuleNotFoundError: No module named '([\w.]+)'", message)
        if missing and missing[1].partition(".")[0] not in sys.stdlib_module_names:
            message = (
                f"{message} (the judge runs programs with Python's standard library, and the packages of the environment "
                "that judge.packages or --packages names)"
            )
        return cls(VerdictKind.RUNTIME_ERROR, message)


def failure_of(ended: Ended, cpu_s: float, limits: Limits) -> Failure | None:
    """None: it ended well. cpu_s: what the time limit is held against.

    Raises JudgeFault when the run never came to the candidate's code.
    """
    full = ended.sizes[0] > limits.output_bytes
    if "M" in ended.phase:
        message = last_line(ended.stderr).rpartition("execveat: ")[2]
        raise JudgeFault(f"the runtime of its language cannot be started: {message or ended.ended}")
    if "F" in ended.phase:
        # That programs can be started here, a trial has shown: what this one is, is its author's doing.
        message = last_line(ended.stderr).rpartition("execveat: ")[2]
        return Failure(
            VerdictKind.RUNTIME_ERROR, f"the compiled program cannot be started: {message}", of_case=False
        )
    if ended.phase == "S" and last_line(ended.stderr).startswith("MemoryError"):
        return Failure(VerdictKind.MEMORY_LIMIT, "out of memory while it was compiled", of_case=False)
    unready = ended.phase == "S" and ended.ended == "exit" and ended.code > 0 and not full
    if ended.phase == "" or unready or ended.ended == "cancel":
        raise JudgeFault(f"the sandbox could not start a run: {last_line(ended.stderr) or ended.ended}")
    if "C" in ended.phase:
        return Failure(VerdictKind.COMPILE_ERROR, _tail(ended.stderr), of_case=False)
    return beyond_limits(ended, cpu_s, limits) or _by_exit(ended, limits)


def beyond_limits(ended: Ended, cpu_s: float, limits: Limits) -> Failure | None:
    """Which limit a run went past. cpu_s: what the time limit is held against."""
    if ended.ended == "output" or ended.code == -signal.SIGXFSZ or ended.sizes[0] > limits.output_bytes:
        return Failure(VerdictKind.OUTPUT_LIMIT, f"more than {limits.output_bytes} bytes of output")
    # Before the time: how much memory a program takes does not depend on what else the machine does.
    if ended.ended == "memory" or ended.memory > limits.memory_mb << 20:
        used = ended.memory / (1 << 20)
        return Failure(VerdictKind.MEMORY_LIMIT, f"{used:.0f} MiB, the limit is {limits.memory_mb} MiB")
    if ended.ended == "wall":
        wall, cpu = ended.wall_s, ended.cpu_s
        return Failure(VerdictKind.TIME_LIMIT, f"it hung: {wall:.1f} s passed, {cpu:.2f} s of CPU time used")
    if ended.ended == "cpu" or ended.code == -signal.SIGXCPU or cpu_s > limits.cpu_s:
        return Failure(VerdictKind.TIME_LIMIT, f"{cpu_s:.2f} s of CPU time, the limit is {limits.cpu_s:g} s")
    return None


def _by_exit(ended: Ended, limits: Limits) -> Failure | None:
    if ended.code == 0:
        return None
    if ended.code == -signal.SIGSYS:
        return Failure(VerdictKind.SECURITY_VIOLATION, "killed for a system call of a foreign kind")
    if ended.code < 0:
        name = signal_name(-ended.code)
        kind = VerdictKind.RUNTIME_ERROR
        near = ended.memory > NEAR_MEMORY * (limits.memory_mb << 20)
        if near or OUT_OF_MEMORY.search(ended.stderr[:SCANNED_BYTES]):
            kind = VerdictKind.MEMORY_LIMIT
        message = _tail(ended.stderr)
        return Failure(kind, f"killed by {name}" + (f": {message}" if message else ""))
    message = last_line(ended.stderr)
    failure = Failure.by_error(message)
    if failure.kind is VerdictKind.RUNTIME_ERROR and OUT_OF_MEMORY.search(ended.stderr[:SCANNED_BYTES]):
        failure = Failure(VerdictKind.MEMORY_LIMIT, message)
    elif failure.kind is VerdictKind.RUNTIME_ERROR and REFUSED.search(ended.stderr[:SCANNED_BYTES]):
        failure = Failure(VerdictKind.SECURITY_VIOLATION, message)
    added = failure.detail.removeprefix(message) if failure.detail.startswith(message) else ""
    return Failure(failure.kind, _tail(ended.stderr) + added or f"exit code {ended.code}")


def message_in(text: str) -> str:
    """The message in an answer, which is JSON where the program has not changed it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "an answer that cannot be read"
    return value[:600] if isinstance(value, str) else "an answer that cannot be read"


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)


def last_line(stderr: bytes) -> str:
    lines = stderr[-2000:].decode("utf-8", "replace").strip().split("\n")
    return lines[-1]


def _tail(stderr: bytes) -> str:
    """The end of standard error, which says most; of what Go's runtime writes, the beginning."""
    go_report = GO_ENDS.search(stderr[:SCANNED_BYTES])
    kept = stderr[go_report.start() :][:1200] if go_report else stderr[-1200:]
    return kept.decode("utf-8", "replace").strip()
