"""A process in a sandbox: what it does from the fork on, and what the server knows about it."""

import contextlib
import marshal
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, NamedTuple, NoReturn

from alpharay.judge.guest import candidate, furnish, native, workspace
from alpharay.judge.guest.sandbox import Sandbox
from alpharay.judge.guest.zygote import Zygote, serve_forks

CPU_CLOCK = 2  # CPUCLOCK_SCHED: the clock id of a process's CPU time is ~pid << 3 | 2
# What may come after each byte of a report's beginning, from ours; the rest is a candidate's forgery and is ignored.
PYTHON = {"": b"S", "S": b"LRC", "L": b"R"}
EXECUTED = {"": b"S", "S": b"L", "L": b"FM"}
# What calls a function reports that it runs before it loads the program, which then cannot say that nothing ran.
CALLING = {"": b"S", "S": b"L", "L": b"MD", "D": b"R"}
STEPS = {"native": EXECUTED, "runtime": EXECUTED, "tool": EXECUTED, "runtime call": CALLING}
# What is called in the rehearsal.
CALLED = b"def solve(a, b):\n    return [a + b]\n"
CASES = b'{"args": [1, 2], "kwargs": {}}\n{"args": [1, 2.5], "kwargs": {}}\n'
CHANNEL = 4  # the descriptor on which a process that has compiled a program receives its tasks


class Task(NamedTuple):
    """What a child is to do.

    inputs: how many of its descriptors are files whose contents the work is given; the others become its
    descriptors 0, 1, 2, then the report's, then 4 and on. cpu_s: CPU seconds after which it is to be killed.
    cases: how often it may take that, as far as the kernel is to see to it; the server counts each case by itself.
    entry: the function's name, or a command line. environment: of a program of the machine's. Both: words, NUL between them.
    """

    work: str
    policy: str
    entry: str
    start: int
    inputs: int
    cpu_s: float
    memory: int
    output: int
    cases: int = 1
    environment: str = ""


def words(text: str) -> list[str]:
    """Of a command line or an environment. None where there is no text."""
    return text.split("\0") if text else []


class Child:
    """phase: how far it came. lines: answers it has given so far.

    S sandboxed, L loading, R running, C does not compile; F, M not executable: the candidate's own image, or a program of
    the machine's; D what calls a function runs.
    """

    def __init__(
        self,
        zygote: Zygote,
        task: Task,
        descriptors: Sequence[int],
        *,
        lines: int = 0,
        answers: int | None = None,
    ) -> None:
        """Forks. descriptors: as the task says, without the report's.

        answers: the file that takes its report's lines, of which there may be so many.
        """
        self.cpu_s = task.cpu_s
        self.phase = ""
        self._steps = STEPS.get(task.work, PYTHON)
        self.lines = 0
        self.flooded = False
        self._answers = answers
        self._output = task.output
        self._most_lines = lines
        self._written = 0
        self._reaped: tuple[int, int, resource.struct_rusage] | None = None
        self.receive, send = os.pipe()
        try:
            os.set_blocking(self.receive, False)
            position = task.inputs + candidate.REPORT
            self.pid = zygote.fork(tuple(task), [*descriptors[:position], send, *descriptors[position:]])
        except OSError:
            os.close(self.receive)
            raise
        finally:
            os.close(send)
        self.handle = os.pidfd_open(self.pid)

    def used(self) -> float:
        """Its CPU seconds so far, all threads together."""
        if self._reaped is not None:
            return self._reaped[2].ru_utime + self._reaped[2].ru_stime
        return time.clock_gettime(~self.pid << 3 | CPU_CLOCK)

    def collect(self) -> bool:
        """Moves what it reported into the host's file; False when no more can come."""
        while True:
            try:
                data = os.read(self.receive, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._written += len(data)
            if self._written > self._output:
                self.flooded = True
                return False
            data = self._advance(data)
            if self._answers is None or not data:
                continue
            os.write(self._answers, data)
            self.lines += data.count(b"\n")
            if self.lines > self._most_lines:
                self.flooded = True
                return False

    def _advance(self, data: bytes) -> bytes:
        """Records how far the child came. Returns what follows."""
        for index, byte in enumerate(data):
            expected = self._steps.get(self.phase[-1:])
            if expected is None:
                return data[index:]
            if byte in expected:
                self.phase += chr(byte)
        return b""

    def exit_code(self) -> int | None:
        """None: it still runs."""
        if self._reaped is not None:
            return os.waitstatus_to_exitcode(self._reaped[1])
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        self._reaped = pid, status, usage
        return os.waitstatus_to_exitcode(status)

    def end(self) -> tuple[int, float, int]:
        """Kills it if need be. Returns its exit code (negative: a signal), CPU seconds and peak memory in bytes."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        _, status, usage = self._reaped or os.wait4(self.pid, 0)
        self.collect()
        os.close(self.receive)
        os.close(self.handle)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


class ChildTasks:
    """What the children of a zygote do, from the fork to their end.

    Each page that a child writes to is copied, and Python counts references in what is only read: so a child reads little.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        # What runs test programs, and much of the library with it; None: not in this zygote.
        self.apart: Any = None
        self.together: Any = None

    def run(self, message: bytes, descriptors: list[int]) -> NoReturn:
        """Enters the sandbox, then runs the task."""
        code = 1
        try:
            code = self._run_in(self._sandbox.enter, message, descriptors)
        except BaseException as error:
            candidate.print_error(error, keep=0)
        finally:
            os._exit(code)

    def rehearse(self, nothing: int) -> None:
        """In the server: runs a task as a child does, in no sandbox. What is made ready at its first use then is ready.

        nothing: a descriptor of /dev/null, which is what the server's lowest descriptors are and stay.
        """
        task = Task("call", "python", "solve", 0, 2, 1.0, 1 << 28, 1 << 20)
        files = [os.memfd_create(name) for name in ("program", "cases")]
        for file, content in zip(files, (CALLED, CASES), strict=True):
            os.write(file, content)
        limit = sys.getrecursionlimit()
        for _ in range(candidate.REHEARSALS):
            furnish.prepare()
            self._run_in(self._sandbox.rehearse, marshal.dumps(tuple(task)), [*files, *[nothing] * 4])
        sys.setrecursionlimit(limit)
        for file in files:
            os.close(file)
        del sys.modules["candidate"]

    def _run_in(self, enter: Callable[..., None], message: bytes, descriptors: list[int]) -> int:
        # Not a `Task`, which would cost a dozen pages.
        fields = marshal.loads(message)  # noqa: S302 - of the server's making
        work, policy, entry, start, inputs, cpu_s, memory, output, cases, environment = fields
        contents = [candidate.read_all(each) for each in descriptors[:inputs]]
        for target, descriptor in enumerate(descriptors[inputs:]):
            os.dup2(descriptor, target)
        enter(policy, len(descriptors) - inputs, cpu_s=cases * cpu_s, memory=memory, output=output)
        os.write(candidate.REPORT, candidate.SANDBOXED)
        return self._do(work, contents, entry, start, cpu_s, memory, environment)

    def _do(
        self,
        work: str,
        contents: list[bytes],
        entry: str,
        start: int,
        cpu_s: float,
        memory: int,
        environment: str,
    ) -> int:
        if work == "compile":
            return self._compile(contents[0])
        candidate.reseed()
        if work == "call":
            return candidate.run_calls(contents[0], contents[1], entry, start)
        if work == "workspace":
            folder, *argv = words(entry)
            return workspace.run(folder, argv)
        if work == "candidate":
            return int(self.apart.run_candidate(contents[0], entry))
        if work == "tests":
            return int(self.apart.run_tests(contents[0], entry, cpu_s))
        if work == "together":
            return int(self.together.run_tests(contents[0], contents[1], entry))
        if work == "tool":
            folder, *argv = words(entry)
            native.run_tool(argv, words(environment), folder)
        if work in ("runtime", "runtime call"):
            native.run_in_runtime(words(entry), words(environment), reports=work == "runtime call")
        return native.run_binary(words(entry) or ("program",), memory)

    def _compile(self, source: bytes) -> int:
        """Compiles the program, and from then on forks children that run it."""
        codes = candidate.compiled(source)
        os.write(candidate.REPORT, candidate.READY if codes else candidate.UNPARSABLE)
        if codes is None:
            return 1
        os.dup2(0, 2)  # what it writes there would be read as a child's
        space = candidate.main_module("__main__")
        # Family and type are passed: the sandbox forbids to ask the kernel for them.
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, CHANNEL)
        try:
            serve_forks(channel, lambda message, attached: self._run(codes, space, message, attached))
        except MemoryError:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel ends what takes too much
        return 1

    def _run(
        self, codes: list[CodeType], space: dict[str, Any], message: bytes, descriptors: list[int]
    ) -> NoReturn:
        status = 1
        try:
            _, _, entry, *_ = marshal.loads(message)  # noqa: S302 - of the server's making
            argv = words(entry)
            if argv:
                status = (
                    candidate.CRASHED
                )  # unless it says otherwise, which it cannot where its files are full
            for target, descriptor in enumerate(descriptors):
                os.dup2(descriptor, target)
            self._sandbox.enter_again(len(descriptors))
            candidate.reseed()
            os.write(candidate.REPORT, candidate.SANDBOXED + candidate.READY)
            os.close(candidate.REPORT)
            if argv:
                status = candidate.run_checker(codes, space, argv)
            else:
                status = candidate.run_program(codes, space)
        except BaseException as error:
            candidate.print_error(error, keep=0)
        finally:
            os._exit(status)
