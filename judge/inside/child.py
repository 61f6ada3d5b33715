"""A forked process that is caged before it does anything, and what its parent can tell about it."""

import contextlib
import ctypes
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from alpharay.judge.inside import candidate
from alpharay.judge.inside.cage import Cage, Walls

CPU_CLOCK = 2  # CPUCLOCK_SCHED: the clock id of a process's CPU time is ~pid << 3 | 2


# The interpreter's own `os.fork` makes the child set up again what threads share, at the price of 160 copied pages.
# This server has no threads, so there is nothing to set up, but the state of random numbers.
_libc = ctypes.PyDLL(None, use_errno=True)


def _fork() -> int:
    pid: int = _libc.fork()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"fork: {os.strerror(number)}")
    return pid


class Child:
    """phase: how far it came (S caged, L loading, R running, C does not compile, F not executable). lines: answers it has given so far."""

    def __init__(
        self,
        work: Callable[..., int],
        cage: Cage,
        walls: Walls,
        order: dict[str, Any],
        *,
        inputs: list[int],
        given: list[int],
        answers: int | None,
        cpu_s: float,
    ) -> None:
        """Forks. inputs: files whose contents `work` is called with.

        given: what becomes its descriptors 0, 1, 2 and, after the report's, 4 and on.
        answers: the file that takes its report's lines. cpu_s: CPU seconds after which it is to be killed.
        """
        self.cpu_s = cpu_s
        self.phase = ""
        self.lines = 0
        self.flooded = False
        self._answers = answers
        self._output: int = order["output"]
        self._most_lines: int = order["lines"]
        self._written = 0
        self.receive, send = os.pipe()
        os.set_blocking(self.receive, False)
        self.pid = _fork()
        if self.pid == 0:
            _live(work, inputs, cage, walls, order, [*given[:3], send, *given[3:]], cpu_s)
        os.close(send)
        self.handle = os.pidfd_open(self.pid)

    def used(self) -> float:
        """Its CPU seconds so far, all threads together."""
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
            while data and self.phase[-1:] not in ("R", "C", "F"):
                self.phase, data = self.phase + chr(data[0]), data[1:]
            if self._answers is None or not data:
                continue
            self._written += len(data)
            if self._written > self._output:
                self.flooded = True
                return False
            os.write(self._answers, data)
            self.lines += data.count(b"\n")
            if self.lines > self._most_lines:
                self.flooded = True
                return False

    def end(self) -> tuple[int, float, int]:
        """Kills it if need be. Returns its exit code (negative: a signal), CPU seconds and peak memory in bytes."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self.collect()
        os.close(self.receive)
        os.close(self.handle)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def _live(
    work: Callable[..., int],
    inputs: list[int],
    cage: Cage,
    walls: Walls,
    order: dict[str, Any],
    descriptors: list[int],
    cpu_s: float,
) -> NoReturn:
    code = 1
    try:
        random.seed()
        contents = [candidate.read_all(each) for each in inputs]
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
        cage.close_in(walls, len(descriptors), cpu_s=cpu_s, memory=order["memory"], output=order["output"])
        os.write(candidate.REPORT, candidate.CAGED)
        code = work(*contents)
    except BaseException as error:
        candidate.print_error(error, keep=0)
    finally:
        os._exit(code)
