"""The fork server: a small warm interpreter that forks one caged child per run and tells what became of it.

It reads no program, no input and no output: those come as sealed memory files that go straight to the child.
What it adds is what only a parent inside the sandbox can know: the child's own CPU time, peak memory and end.

One message per run over the socket on descriptor 0 (JSON, descriptors attached), one message back.
"""

import contextlib
import fcntl
import json
import math
import os
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from alpharay.judge.inside import candidate, together
from alpharay.judge.inside.cage import Cage

# Imported for the candidates: every child then has them at no cost of its own.
WARM = (
    "abc bisect cmath collections collections.abc contextlib copy dataclasses datetime decimal enum fractions "
    "functools heapq io itertools json math operator queue random re statistics string textwrap threading time "
    "traceback types typing"
)
CHILDS = 8  # descriptors below are a child's
CPU_CLOCK = 2  # CPUCLOCK_SCHED: the clock id of a process's CPU time is ~pid << 3 | 2
MESSAGE_BYTES = 16384
# A run over its CPU limit by less than this may have been slowed by its neighbours: it ends and is run again.
GRACE = 1.25
# The hang guard waits longer for a program that is still being given CPU time, on a machine that has none to spare.
STARVED_FACTOR = 5
# It counts as such while it gets at least this share of a core, over windows of this many seconds.
PROGRESS, WINDOW_S = 0.02, 0.25


def main(configuration: str) -> None:
    """Serves until the socket is closed by the other side."""
    settings = json.loads(configuration)
    control = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, CHILDS))
    # Everything of ours lies above: what a child gets is put on these numbers.
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(CHILDS):
        os.dup2(nothing, descriptor)
    for module in WARM.split():
        __import__(module)
    cage = Cage(
        settings["read"],
        ["/dev/null"],
        uid=settings["uid"],
        keep=settings["keep"],
        threads=settings["threads"],
    )
    os.environ.clear()
    candidate.prepare()
    control.send(json.dumps({"ready": os.getpid()}).encode())
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 8)
        if not message:
            return
        order = json.loads(message)
        if "run" not in order:
            continue  # a kill that came after the end of its run
        report = Run(order, descriptors, cage, control).report()
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(json.dumps(report).encode())


class Run:
    """One child from fork to reaping."""

    def __init__(
        self, order: dict[str, Any], descriptors: list[int], cage: Cage, control: socket.socket
    ) -> None:
        self._order = order
        self._descriptors = descriptors
        self._cage = cage
        self._control = control
        self._marks: list[float] = []
        self._lines = self._written = 0
        self._phase = ""
        self._ended = "exit"

    def report(self) -> dict[str, Any]:
        receive, send = os.pipe()
        os.set_blocking(receive, False)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(receive)
            self._child(send)
        os.close(send)
        child = os.pidfd_open(pid)
        try:
            self._watch(pid, child, receive, started)
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            self._collect(receive)
            self._mark(usage.ru_utime + usage.ru_stime)
            os.close(receive)
            os.close(child)
        return {
            "run": self._order["run"],
            "ended": self._ended,
            "code": os.waitstatus_to_exitcode(status),
            "phase": self._phase,
            "cpu": usage.ru_utime + usage.ru_stime,
            "wall": time.monotonic() - started,
            "rss": usage.ru_maxrss * 1024,
            "marks": self._marks,
        }

    def _child(self, send: int) -> NoReturn:
        order = self._order
        code = 1
        try:
            program, stdin, stdout, stderr, *rest = self._descriptors
            source = candidate.read_all(program)
            given = candidate.read_all(rest[0]) if rest else b""
            kept = [stdin, stdout, stderr, send, *rest[2:]]
            for place, descriptor in enumerate(kept):
                os.dup2(descriptor, place)
            self._cage.close_in(
                len(kept), cpu_s=order["cpu"] * GRACE, memory=order["memory"], output=order["output"]
            )
            os.write(candidate.REPORT, candidate.CAGED)
            candidate.open_streams()
            if order["mode"] == "stdio":
                code = candidate.run_program(source)
            elif order["mode"] == "call":
                code = candidate.run_calls(source, order["entry"], given, order["start"])
            else:
                code = together.run_tests(source, given, order["entry"], nonce=len(kept) - 1)
        except BaseException as error:
            candidate.print_error(error, keep=0)
        finally:
            os._exit(code)

    def _watch(self, pid: int, child: int, receive: int, started: float) -> None:
        """Returns when the child has ended or must be killed."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(child, select.POLLIN)
        reading = (
            self._order["mode"] == "call"
        )  # answers are timed one by one; other reports wait for the end
        if reading:
            poll.register(receive, select.POLLIN)
        cpu_limit, wall_limit = self._order["cpu"] * GRACE, self._order["wall"]
        clock = ~pid << 3 | CPU_CLOCK
        case_began, last_look, last_used = started, started, 0.0
        while True:
            if reading:
                reading = self._collect(receive)
                if not reading:
                    poll.unregister(receive)
                if self._ended != "exit":
                    return
            now, used = time.monotonic(), time.clock_gettime(clock)
            if self._mark(used):
                case_began = now
            case_cpu = used - (self._marks[-1] if self._marks else 0.0)
            if case_cpu > cpu_limit:
                self._ended = "cpu"
                return
            waited = now - case_began
            if now - last_look >= WINDOW_S:
                starved = used - last_used > PROGRESS * (now - last_look)
                if waited > wall_limit and (not starved or waited > STARVED_FACTOR * wall_limit):
                    self._ended = "wall"
                    return
                last_look, last_used = now, used
            wait = min(cpu_limit - case_cpu, max(wall_limit - waited, WINDOW_S))
            for descriptor, _ in poll.poll(max(1, math.ceil(wait * 1000))):
                if descriptor == child:
                    return
                if descriptor != receive:
                    # Either a kill for this run, or the other side is gone.
                    self._control.recv(MESSAGE_BYTES)
                    self._ended = "cancel"
                    return

    def _mark(self, used: float) -> bool:
        """Charges the CPU time since the last mark to the answers that came since; False when none did.

        Several came at once when this server woke late: each is charged its share.
        """
        new = self._lines - len(self._marks)
        before = self._marks[-1] if self._marks else 0.0
        self._marks += [before + (used - before) * (place + 1) / new for place in range(new)]
        return new > 0

    def _collect(self, receive: int) -> bool:
        """Moves what the child reported into the host's file; False when no more can come."""
        while True:
            try:
                data = os.read(receive, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            while data and self._phase[-1:] not in ("R", "C"):
                self._phase, data = self._phase + chr(data[0]), data[1:]
            if self._order["mode"] == "stdio" or not data:
                continue
            self._written += len(data)
            if self._written > self._order["output"]:
                self._ended = "output"
                return True
            os.write(self._descriptors[5], data)
            self._lines += data.count(b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
