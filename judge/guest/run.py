"""One run: its children from fork to reaping, held to their limits."""

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from alpharay.judge.guest.child import Child, Task
from alpharay.judge.guest.code_tests.account import TESTS_FACTOR
from alpharay.judge.guest.native import Tools
from alpharay.judge.guest.scratch import MISSING, SIZE_BYTES, Scratch
from alpharay.judge.guest.stderr_capture import StderrCapture
from alpharay.judge.guest.watch import Watch
from alpharay.judge.guest.zygote import Zygote

NOTHING = 0  # /dev/null, in the server
# A run over its CPU limit by less than this may have been slowed by its neighbours: it ends and is run again.
GRACE = 1.25
STREAMS = 3
# Runs that find files in their folder and leave some there.
WITH_FILES = ("tool", "checker", "interactive", "workspace")
# Of several runs in one message those after a wrong output are for nothing, which only the host can see.
LITTLE_S = 0.05
# All runs of a program together may sleep for as long as its hang guard, which the host makes shorter by what went: those
# of one message take little of it.
LITTLE_IDLE = 0.25


class Compiled:
    """The process that has compiled a program and forks a child for each of its cases."""

    def __init__(self, child: Child, zygote: Zygote) -> None:
        self.child = child
        self.zygote = zygote

    def end(self) -> tuple[int, float, int]:
        self.zygote.close()
        return self.child.end()


class CompiledProgramCache:
    """What outlives a run: the compiled program of the last one, if more cases of it are to come."""

    def __init__(self) -> None:
        self._compiled: Compiled | None = None

    def take(self) -> Compiled | None:
        taken, self._compiled = self._compiled, None
        return taken

    def put(self, compiled: Compiled) -> None:
        self._compiled = compiled

    def clear(self) -> None:
        compiled = self.take()
        if compiled is not None:
            compiled.end()


def runs(
    order: dict[str, Any], descriptors: list[int], run: Callable[[dict[str, Any], list[int]], "Run"]
) -> Iterator[dict[str, Any]]:
    """A report on each run that is made: all that are asked for, if each ends well and they cost little.

    descriptors: the program; then, for each run, its three streams; what else there is belongs to a single one.
    run: makes one, of its order and its own descriptors.
    """
    program, *files = descriptors
    spent, idle, left = 0.0, 0.0, order["runs"]
    while left:
        left -= 1
        streams = files if order["runs"] == 1 else [files.pop(0) for _ in range(STREAMS)]
        own = {**order, "more": order["more"] or left > 0}
        report = run(own, [program, *streams]).report()
        if "refused" in report and left < order["runs"] - 1:
            return  # the host runs it again, and the refusal is reported then
        yield report
        # One past its hang guard may have asked the host, whose answer must not reach the next run.
        if (
            "refused" in report
            or report["ended"] != "exit"
            or report["code"]
            or report["wall"] > order["guard"]
        ):
            return
        spent += report["cpu"]
        idle += report["wall"] - report["cpu"]
        if spent > LITTLE_S or idle > LITTLE_IDLE * order["guard"]:
            return
        order["same"] = True


class Run:
    """The candidate's process and, for test programs of their own, theirs."""

    def __init__(
        self,
        order: dict[str, Any],
        descriptors: list[int],
        zygote: Zygote,
        cache: CompiledProgramCache,
        tools: Tools | None,
        scratch: Scratch,
        control: socket.socket,
    ) -> None:
        self._order = order
        self._descriptors = descriptors
        self._zygote = zygote
        self._cache = cache
        self._tools = tools
        self._scratch = scratch
        self._compiled: Compiled | None = None
        # A compiler writes little, and the size of what it writes counts.
        self._stderr = None if order["mode"] == "tool" else StderrCapture(descriptors[3])
        self._watch = Watch(order, control, self._stderr, scratch)
        self._interacting: list[Compiled] = []  # what the processes of an interactive run are forked from

    def report(self) -> dict[str, Any]:
        """Runs to the end. Returns the report on the candidate, and how the tests' own process ended if there was one."""
        try:
            return self._report()
        finally:
            if self._stderr is not None:
                self._stderr.close()

    def _report(self) -> dict[str, Any]:
        started = time.monotonic()
        if not self._order["same"]:
            self._cache.clear()
        try:
            self._fill()
            children = self._fork()
        except OSError as error:
            # No room for one more process or file, which says nothing about the program: the host is to try again.
            self._clean()
            return {"refused": str(error)}
        try:
            if self._watch.ended == "exit":
                # Not from the start: what compiled the program is another process.
                self._watch.until_the_end(children, time.monotonic())
        finally:
            ends = [child.end() for child in children]
            code, cpu, memory = ends[0]
            self._watch.mark(children[0], cpu)
            if self._order["mode"] in WITH_FILES:
                self._collect(code)
            else:
                self._clean()
        if self._compiled is not None:
            if self._order["more"] and self._watch.ended == "exit":
                self._cache.put(self._compiled)
            else:
                self._compiled.end()
        for each in self._interacting:
            each.end()
        self._watch.close()
        if self._watch.marks:
            # Not in the message, which has a bound: there may be as many as there are cases.
            os.write(self._descriptors[6], struct.pack(f"{len(self._watch.marks)}d", *self._watch.marks))
        # A folder that was filled at a command's end is that command's doing, not the next one's.
        crowded = self._order["mode"] == "workspace" and self._scratch.crowded()
        if self._watch.ended == "exit" and (crowded or any(child.flooded for child in children)):
            self._watch.ended = "output"
        return {
            "ended": self._watch.ended,
            "code": code,
            # What comes of a process that has compiled the program is in its sandbox from birth, and may fail of its memory.
            "phase": children[0].phase or ("SR" if self._compiled is not None or self._interacting else ""),
            "cpu": cpu,
            "wall": time.monotonic() - started,
            "rss": memory,
            "tests": ends[1][0] if len(ends) > 1 else None,
            "tests_phase": children[1].phase if len(children) > 1 else "",
            "first": self._watch.candidate_first,
        }

    def _fill(self) -> None:
        """Puts the files that come with the order where the run finds them. Raises OSError."""
        names = self._order["files"]
        first = len(self._descriptors) - len(names)
        if self._order["mode"] == "workspace":
            for source in self._descriptors[first:]:
                self._scratch.unpack(source)
            return
        self._scratch.fill(names, self._descriptors[first:], self._order["writes"])
        if self._order["launch"]:
            self._scratch.show(self._order["program"], self._descriptors[0])

    def _clean(self) -> None:
        if self._order["mode"] in WITH_FILES or self._order["launch"]:
            self._scratch.clean()

    def _collect(self, code: int) -> None:
        """Takes what the run left in its folder, which is then empty but for what the next step needs."""
        order, answers = self._order, self._descriptors[5]
        if order["mode"] == "tool" and self._tools is not None:
            made, ending = self._tools.makes(order["language"], order["entry"])
            if code == 0 and made:
                self._scratch.collect(made, answers, order["output"])
            if code == 0 and not order["last"]:
                if ending:
                    self._scratch.gather(ending)
                return
        workspace = order["mode"] == "workspace"
        for name in order["writes"]:
            before = os.fstat(answers).st_size
            exists = self._scratch.collect(name, answers, order["output"])
            size = os.fstat(answers).st_size - before if exists or not workspace else MISSING
            os.write(answers, size.to_bytes(SIZE_BYTES, "big"))
        if not workspace:  # whose folder stays, and ends with this server
            self._scratch.clean()

    def _fork(self) -> list[Child]:
        """The candidate first. The last one's end is the end of the run."""
        order = self._order
        program, stdin, stdout, stderr, *rest = self._descriptors
        streams = [stdin, stdout, stderr if self._stderr is None else self._stderr.send]
        if order["mode"] == "stdio":
            return [self._fork_compiled(program, streams)]
        if order["mode"] == "interactive":
            return self._fork_interactive(program, streams, rest[2], rest[3])
        if order["mode"] == "checker" and order["native"]:
            task = self._task("native", policy="binary checker", entry=order["entry"])
            return [self._child(task, [*streams, program])]
        if order["mode"] == "checker":
            return [self._fork_compiled(program, streams)]
        if order["mode"] == "native":
            return [self._fork_executed(program, streams)]
        if order["mode"] == "workspace":
            return [self._child(self._task("workspace", policy="workspace", entry=order["entry"]), streams)]
        if order["mode"] == "tool" and self._tools is not None:
            language = order["language"]
            argv, environment = self._tools.command(language, order["entry"])
            task = self._task(
                "tool",
                policy=f"tool {language}",
                entry="\0".join([self._scratch.path, *argv]),
                environment="\0".join(environment),
            )
            return [self._child(task, [*streams, self._tools.image(language, order["entry"])])]
        input_file, answers, *more = rest
        if order["mode"] == "call" and order["launch"]:
            task, descriptors = self._in_runtime("runtime call", streams)
            return [self._child(task, [*descriptors, input_file], lines=order["lines"], answers=answers)]
        if order["mode"] == "call":
            task, descriptors = self._task("call", inputs=2), [program, input_file, *streams]
            return [self._child(task, descriptors, lines=order["lines"], answers=answers)]
        if order["mode"] == "together":
            task, descriptors = self._task("together", inputs=2), [program, input_file, *streams, *more]
            return [self._child(task, descriptors, lines=order["lines"], answers=answers)]
        question_reader, question_writer = os.pipe()
        answer_reader, answer_writer = os.pipe()
        try:
            first = self._child(
                self._task("candidate", inputs=1), [program, *streams, question_reader, answer_writer]
            )
            task = self._task("tests", policy="tests", inputs=1, factor=TESTS_FACTOR)
            descriptors = [input_file, NOTHING, NOTHING, NOTHING, answer_reader, question_writer]
            try:
                # Its verdict and, before that, that it received much.
                return [first, self._child(task, descriptors, lines=1 + order["lines"], answers=answers)]
            except OSError:
                first.end()
                raise
        finally:
            for descriptor in (question_reader, question_writer, answer_reader, answer_writer):
                os.close(descriptor)

    def _fork_executed(self, program: int, streams: list[int]) -> Child:
        """A compiled candidate, by itself or by its language's runtime."""
        if not self._order["launch"]:
            return self._child(self._task("native", policy="binary", entry=""), [*streams, program])
        task, descriptors = self._in_runtime("runtime", streams)
        return self._child(task, descriptors)

    def _in_runtime(self, work: str, streams: list[int]) -> tuple[Task, list[int]]:
        """By the language's runtime, with its own command line."""
        assert self._tools is not None
        language = self._order["language"]
        environment = "\0".join(self._tools.environment(language))
        task = self._task(
            work, policy=f"run {language}", entry=self._order["launch"], environment=environment
        )
        return task, [*streams, self._tools.runtime(language)]

    def _fork_interactive(
        self, program: int, streams: list[int], interactor: int, stderr: int
    ) -> list[Child]:
        """The candidate and the tests' interactor, each the other's standard input and output."""
        order = self._order
        output_reader, output_writer = os.pipe()
        input_reader, input_writer = os.pipe()
        # Kept here too: neither side is to notice the other's end before this server does, which records who was first.
        self._watch.of_candidate, self._watch.of_interactor = (
            [input_reader, output_writer],
            [output_reader, input_writer],
        )
        try:
            for each in (output_reader, output_writer, input_reader, input_writer):
                os.fchmod(each, 0o666)  # by its path, /dev/stdin, it is opened by another user
            first = self._fork_half(order, "", program, [input_reader, output_writer, streams[2]])
            if first.phase.endswith("C"):
                return [first]
            try:
                interactor_order = {**order, **order["interactor"]}
                return [
                    first,
                    self._fork_half(
                        interactor_order, " interactor", interactor, [output_reader, input_writer, stderr]
                    ),
                ]
            except OSError:
                first.end()
                raise
        except OSError:
            for compiled in self._interacting:
                compiled.end()
            self._watch.close()
            raise

    def _fork_half(self, order: dict[str, Any], role: str, program: int, streams: list[int]) -> Child:
        """One side of an interactive run; where its Python does not compile, the process that found that out."""
        entry = order["entry"] if role else ""
        if order["native"] and not role:
            return self._fork_executed(program, streams)
        if order["native"]:
            task = self._task("native", policy=f"binary{role}", entry=entry, order=order)
            return self._child(task, [*streams, program])
        compiled = self._compile(program, streams[2], policy=f"compile{role}", order=order)
        if not compiled.child.phase.endswith("R"):
            compiled.zygote.close()
            return compiled.child
        self._interacting.append(compiled)
        return Child(compiled.zygote, self._task("run", entry=entry, order=order), streams)

    def _task(
        self,
        work: str,
        *,
        policy: str = "python",
        inputs: int = 0,
        factor: float = 1.0,
        entry: str | None = None,
        environment: str = "",
        order: dict[str, Any] | None = None,
    ) -> Task:
        """entry: instead of the order's; for programs with a command line, that. order: with other limits."""
        order = order or self._order
        entry = order["entry"] if entry is None else entry
        cpu_s, memory, output = factor * GRACE * order["cpu"], order["memory"], order["output"]
        cases = order["lines"] if order["mode"] == "call" else 1
        return Task(work, policy, entry, order["start"], inputs, cpu_s, memory, output, cases, environment)

    def _child(self, task: Task, descriptors: list[int], **options: Any) -> Child:
        return Child(self._zygote, task, descriptors, **options)

    def _fork_compiled(self, program: int, streams: list[int]) -> Child:
        """A child of the process that has compiled the program, or that process itself when it came no further."""
        task = self._task("run")
        compiled = self._cache.take()
        if compiled is not None:
            try:
                child = Child(compiled.zygote, task, streams)
            except OSError:  # it has been killed, by whatever
                compiled.end()
                compiled = None
        if compiled is None:
            policy = "compile checker" if self._order["mode"] == "checker" else "compile"
            compiled = self._compile(program, streams[2], policy=policy, order=self._order)
            if not compiled.child.phase.endswith("R"):
                compiled.zygote.close()
                return compiled.child
            try:
                child = Child(compiled.zygote, task, streams)
            except OSError as error:
                if (
                    error.errno == errno.EPIPE
                ):  # it ended for want of memory, which the program took in being compiled
                    compiled.zygote.close()
                    return compiled.child
                compiled.end()
                raise
        self._compiled = compiled
        return child

    def _compile(self, program: int, stderr: int, *, policy: str, order: dict[str, Any]) -> Compiled:
        own_end, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with child_end:
            task = self._task("compile", policy=policy, inputs=1, entry="", order=order)
            child = self._child(task, [program, NOTHING, NOTHING, stderr, child_end.fileno()])
        self._watch.until_the_end([child], time.monotonic(), until_ready=True)
        return Compiled(child, Zygote(own_end))
