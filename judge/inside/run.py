"""One run: its children from fork to reaping, held to their limits."""

import json
import math
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from alpharay.judge.inside import apart, candidate, native, together
from alpharay.judge.inside.cage import Cage, Walls
from alpharay.judge.inside.child import Child

MESSAGE_BYTES = 16384
HANGS, STILL_BUSY = b'{"hangs": true}', b'{"hangs": false}'
NOTHING = 0  # /dev/null, in the server
# A run over its CPU limit by less than this may have been slowed by its neighbours: it ends and is run again.
GRACE = 1.25
# Test programs in a process of their own work on their author's account, and may take longer than what they test.
TESTS_FACTOR = 10
# A program that waits for a busy machine does not hang. Only the host can tell, and is asked, this often;
# past this many times the hang guard it is ended in any case.
ASK_S, PATIENCE = 0.5, 10


class Run:
    """The candidate's process and, for test programs of their own, theirs."""

    def __init__(
        self,
        order: dict[str, Any],
        descriptors: list[int],
        cage: Cage,
        walls: dict[str, Walls],
        tools: native.Tools | None,
        control: socket.socket,
    ) -> None:
        self._order = order
        self._descriptors = descriptors
        self._cage = cage
        self._walls = walls
        self._tools = tools
        self._control = control
        self._marks: list[float] = []
        self._ended = "exit"

    def report(self) -> dict[str, Any]:
        """Runs to the end and tells about the candidate, and how the tests' own process ended if there was one."""
        started = time.monotonic()
        children = self._fork()
        try:
            self._watch(children, started)
        finally:
            ends = [child.end() for child in children]
            code, cpu, memory = ends[0]
            self._mark(children[0], cpu)
            if self._order["mode"] == "tool" and self._tools is not None:
                if code == 0:
                    self._tools.collect(self._order["entry"], self._descriptors[5], self._order["output"])
                if code != 0 or self._order["last"]:
                    self._tools.clean()
        if self._marks:
            # Not in the message, which has a bound: there may be as many as there are cases.
            os.write(self._descriptors[6], struct.pack(f"{len(self._marks)}d", *self._marks))
        if any(child.flooded for child in children) and self._ended == "exit":
            self._ended = "output"
        return {
            "run": self._order["run"],
            "ended": self._ended,
            "code": code,
            "phase": children[0].phase,
            "cpu": cpu,
            "wall": time.monotonic() - started,
            "rss": memory,
            "tests": ends[1][0] if len(ends) > 1 else None,
        }

    def _fork(self) -> list[Child]:
        """The candidate first. The last one's end is the end of the run."""
        order = self._order
        program, stdin, stdout, stderr, *rest = self._descriptors
        work: Callable[..., int]
        streams, cpu_s = [stdin, stdout, stderr], order["cpu"] * GRACE

        def child(
            work: Callable[..., int],
            inputs: list[int],
            given: list[int],
            walls: str = "python",
            **options: Any,
        ) -> Child:
            return Child(work, self._cage, self._walls[walls], order, inputs=inputs, given=given, **options)

        if order["mode"] == "stdio":
            return [child(candidate.run_program, [program], streams, answers=None, cpu_s=cpu_s)]
        if order["mode"] == "native":
            work = native.run_binary
            return [child(work, [], [*streams, program], "binary", answers=None, cpu_s=cpu_s)]
        if order["mode"] == "tool" and self._tools is not None:
            tools, name = self._tools, order["entry"]
            work = partial(native.run_tool, argv=tools.argv(name), scratch=tools.scratch)
            descriptors = [*streams, tools.image(name)]
            return [child(work, [], descriptors, "tool", answers=None, cpu_s=cpu_s)]
        given, answers, *more = rest
        if order["mode"] == "call":
            work = partial(candidate.run_calls, entry_point=order["entry"], start=order["start"])
            return [child(work, [program, given], streams, answers=answers, cpu_s=cpu_s)]
        if order["mode"] == "together":
            work = partial(together.run_tests, entry_point=order["entry"])
            return [child(work, [program, given], [*streams, *more], answers=answers, cpu_s=cpu_s)]
        asked, asks = os.pipe()
        hears, replies = os.pipe()
        try:
            first = child(
                apart.run_candidate, [program], [*streams, asked, replies], answers=None, cpu_s=cpu_s
            )
            work = partial(apart.run_tests, entry_point=order["entry"])
            nowhere = [NOTHING, NOTHING, NOTHING]
            return [
                first,
                child(work, [given], [*nowhere, hears, asks], answers=answers, cpu_s=TESTS_FACTOR * cpu_s),
            ]
        finally:
            for descriptor in (asked, asks, hears, replies):
                os.close(descriptor)

    def _watch(self, children: list[Child], started: float) -> None:
        """Returns when the last child has ended or all must be killed."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        for child in children:
            poll.register(child.handle, select.POLLIN)
        subject = children[0]
        reading = (
            self._order["mode"] == "call"
        )  # answers are timed one by one; other reports wait for the end
        if reading:
            poll.register(subject.receive, select.POLLIN)
        wall_limit = self._order["wall"]
        case_began, ask_at = started, started + wall_limit
        while True:
            if reading:
                reading = subject.collect()
                if not reading:
                    poll.unregister(subject.receive)
                if subject.flooded:
                    return
            now, used = time.monotonic(), [child.used() for child in children]
            if self._mark(subject, used[0]):
                case_began = now
                ask_at = now + wall_limit
            left = [child.cpu_s - each for child, each in zip(children, used, strict=True)]
            left[0] += self._marks[-1] if self._marks else 0.0
            if min(left) < 0:
                self._ended = "cpu" if left[0] < 0 else "tests"
                return
            if now - case_began > PATIENCE * wall_limit:
                self._ended = self._who_hangs(used)
                return
            if now >= ask_at:
                question = json.dumps({"run": self._order["run"], "hanging": now - started}).encode()
                socket.send_fds(self._control, [question], [child.handle for child in children])
                ask_at = now + ASK_S
            wait = min(*left, ask_at - now)
            for descriptor, _ in poll.poll(max(1, math.ceil(wait * 1000))):
                if descriptor == children[-1].handle:
                    return
                if descriptor == self._control.fileno():
                    message = self._control.recv(MESSAGE_BYTES)
                    if message == STILL_BUSY:
                        continue
                    # It hangs, or is not wanted any more, or the other side is gone.
                    self._ended = self._who_hangs(used) if message == HANGS else "cancel"
                    return
                if descriptor == subject.handle:
                    poll.unregister(descriptor)  # the tests will notice, and end

    def _who_hangs(self, used: list[float]) -> str:
        """On a starved machine a test program that never ends may meet the hang guard before its CPU limit."""
        return "tests" if len(used) > 1 and used[1] > max(used[0], self._order["cpu"]) else "wall"

    def _mark(self, subject: Child, used: float) -> bool:
        """Charges the CPU time since the last mark to the answers that came since; False when none did.

        Several came at once when this server woke late: each is charged its share.
        """
        new = subject.lines - len(self._marks) if self._order["mode"] == "call" else 0
        before = self._marks[-1] if self._marks else 0.0
        self._marks += [before + (used - before) * (place + 1) / new for place in range(new)]
        return new > 0
