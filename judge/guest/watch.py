"""Watches the processes of one run, from fork to end, and holds them to their limits."""

import contextlib
import json
import math
import os
import select
import signal
import socket
import time
from typing import Any

from alpharay.judge.guest.child import Child
from alpharay.judge.guest.code_tests.account import WAITED
from alpharay.judge.guest.scratch import Scratch
from alpharay.judge.guest.stderr_capture import StderrCapture
from alpharay.judge.guest.zygote import MESSAGE_BYTES

# Messages of the host while a run is under way.
HANGS, STILL_BUSY, TOO_LARGE = b'{"hangs": true}', b'{"hangs": false}', b"memory "
# A program that waits for a busy machine does not hang. Only the host can decide, and is asked, about this often, at times
# that a program cannot foresee; past this many times the hang guard it is ended in any case.
ASK_S, PATIENCE = 0.5, 10
# A program that runs for so long has its memory watched by the host, which can see it.
WATCH_AFTER_S = 0.03
# Answers of the first 3 ms do not wake this server: a short run then costs one wake. As they share what they cost, that is
# at most this part of a case's CPU limit.
LISTEN_AFTER_S, LISTEN_PART = 0.003, 0.02
# How often the files of a workspace are counted.
LOOK_S = 0.05
# How long a tests' process may take to answer whether it waits for the candidate.
ANSWERS_S = 3.0


class Watch:
    """What becomes of a run's processes: the candidate's is the first, the last one's end is the end of the run.

    ended: exit, or which limit or wish ended them. marks: CPU seconds at each answer of a call.
    Of an interactive run: candidate_first, whether it ended no later than its interactor; of_candidate and of_interactor, the
    ends of the pipes between them, of which this server keeps its own until the one or the other has ended.
    """

    def __init__(
        self, order: dict[str, Any], control: socket.socket, stderr: StderrCapture | None, scratch: Scratch
    ) -> None:
        self._order = order
        self._control = control
        self._stderr = stderr
        self._scratch = scratch
        self.ended = "exit"
        self.marks: list[float] = []
        self.candidate_first = False
        self.of_candidate: list[int] = []
        self.of_interactor: list[int] = []
        self._interactor_gone = False  # it accepted, so that the candidate may finish

    def close(self) -> None:
        close_all(self.of_candidate)
        close_all(self.of_interactor)

    def until_the_end(self, children: list[Child], started: float, *, until_ready: bool = False) -> None:
        """Returns when the last child has ended, is ready if that will do, or all must be killed, and `ended` says why.

        started: by the monotonic clock.
        """
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        for child in children:
            poll.register(child.handle, select.POLLIN)
        if self._stderr is not None:
            poll.register(self._stderr.receive, select.POLLIN)
        subject = children[0]
        # Answers are timed one by one; other reports wait for the end.
        reading, listening = until_ready or self._order["mode"] == "call", False
        wall_limit, guard = self._order["wall"], self._order["guard"]
        case_began, ask_at, watch_at = started, started + guard, started + WATCH_AFTER_S
        listen_at = started
        if not until_ready:
            listen_at += min(LISTEN_AFTER_S, LISTEN_PART * self._order["cpu"])
        makes_files = self._order["mode"] == "workspace"
        while True:
            if reading:
                reading = subject.collect()
                if listening and not reading:
                    poll.unregister(subject.receive)
                if subject.flooded or (until_ready and subject.phase.endswith("R")):
                    return
            now, used = time.monotonic(), [child.used() for child in children]
            if reading and not listening and now >= listen_at:
                poll.register(subject.receive, select.POLLIN)
                listening = True
            if self.mark(subject, used[0]):
                case_began = now
            left = [child.cpu_s - each for child, each in zip(children, used, strict=True)]
            left[0] += self.marks[-1] if self.marks else 0.0
            if min(left) < 0:
                self.ended = "cpu" if left[0] < 0 else "tests"
                return
            if now - case_began > PATIENCE * wall_limit:
                self.ended = self._who_hangs(children)
                return
            if now >= ask_at:
                self._notify_host("hanging", now - started, children)
                ask_at = now + ASK_S * (0.5 + int.from_bytes(os.urandom(2)) / 65536)
            if now >= watch_at:
                self._notify_host("watch", subject.pid, [subject])
                watch_at = math.inf
            wait = min(*left, ask_at - now, watch_at - now)
            if reading and not listening:
                wait = min(wait, listen_at - now)
            if makes_files:
                if self._scratch.crowded():
                    self.ended = "output"
                    return
                wait = min(wait, LOOK_S)
            events = poll.poll(max(1, math.ceil(wait * 1000)))
            if not self._interactor_gone and any(descriptor == subject.handle for descriptor, _ in events):
                self.candidate_first = True
            for descriptor, _ in events:
                if descriptor == children[-1].handle:
                    # In an interactive run the candidate is to end by itself where its interactor is content.
                    if self.candidate_first or not self._interactor_is_content(children):
                        return
                    self._interactor_gone = True
                    poll.unregister(descriptor)
                    close_all(self.of_interactor)
                if self._stderr is not None and descriptor == self._stderr.receive:
                    self._stderr.drain()
                elif descriptor == self._control.fileno():
                    message = self._control.recv(MESSAGE_BYTES)
                    if message == STILL_BUSY:
                        continue
                    if message.startswith(TOO_LARGE):
                        if int(message.removeprefix(TOO_LARGE)) != subject.pid:
                            continue  # of a run that has ended meanwhile
                        self.ended = "memory"
                        return
                    # It hangs, or is not wanted any more, or the other side is gone.
                    self.ended = self._who_hangs(children) if message == HANGS else "cancel"
                    return
                if descriptor == subject.handle:
                    if self._interactor_is_content(children):
                        return
                    poll.unregister(descriptor)  # the tests will notice, and end
                    close_all(self.of_candidate)

    def _interactor_is_content(self, children: list[Child]) -> bool:
        """Whether it has ended with the exit code by which it accepts."""
        if self._order["mode"] != "interactive" or len(children) < 2:
            return False
        return bool(children[1].exit_code() == self._order["interactor"]["accepts"])

    def _notify_host(self, key: str, value: float, children: list[Child]) -> None:
        message = json.dumps({"run": self._order["run"], key: value}).encode()
        socket.send_fds(self._control, [message], [child.handle for child in children])

    def _who_hangs(self, children: list[Child]) -> str:
        """The side that owes an answer: a tests' process exits, on SIGUSR1, with whether it waits for the candidate."""
        if len(children) == 1:
            return "wall"
        if self._order["mode"] == "interactive":
            # An interactor whose candidate has ended waits for nothing: it hangs by itself.
            return "tests" if children[0].exit_code() is not None else "wall"
        tests = children[1]
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(tests.handle, signal.SIGUSR1)
        poll = select.poll()
        poll.register(tests.handle, select.POLLIN)
        poll.poll(math.ceil(ANSWERS_S * 1000))
        # One that cannot answer, in a step of its own that takes so long, does not wait.
        code = tests.exit_code()
        return "wall" if code == WAITED else "tests"

    def mark(self, subject: Child, used: float) -> bool:
        """Charges the CPU time since the last mark to the answers that came since; False when none did.

        Several came at once when this server woke late: each is charged its share.
        """
        new = subject.lines - len(self.marks) if self._order["mode"] == "call" else 0
        before = self.marks[-1] if self.marks else 0.0
        self.marks += [before + (used - before) * (index + 1) / new for index in range(new)]
        return new > 0


def close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
