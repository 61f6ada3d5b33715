"""The host's end of one fork server, which runs one order at a time."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, replace
from typing import Any

from alpharay.judge.errors import RunRefused, SandboxUnavailable, WorkerDied
from alpharay.judge.guest.candidate import SEPARATOR
from alpharay.judge.guest.scratch import PROGRAMS
from alpharay.judge.limits import Limits
from alpharay.judge.sandbox import memory_file
from alpharay.judge.sandbox.layer import MORE_MODULES, Layer, throw_away_uid
from alpharay.judge.sandbox.occupied import IdleTime, occupied_s, resident
from alpharay.judge.sandbox.order import Ended, Interactor, Order
from alpharay.judge.sandbox.run_files import RunFiles
from alpharay.judge.sandbox.toolchains.tools import FOLDER

START_S = 30.0
# How long a fork server may be silent beyond the hang guard of its run before it is given up.
PATIENCE_S = 10.0
# How much longer than the hang guard a fork server itself waits for a starved program at most.
STARVED_FACTOR = 10
KILL_S = 2.0
# How often the memory of a running program is looked at, and by how many bytes the look may be wrong.
LOOK_S, INEXACT = 0.03, 4 << 20
MORE_NAMES = re.compile(rb"\b(?:%s)\b" % "|".join(MORE_MODULES).encode())
# How far before a module's name its `import` or `from` may stand, and after how many names nobody looks any more.
IMPORT_BYTES, NAMES = 100, 1000
# Functions find these without an import.
RARE_NAMES = re.compile(
    rb"\b(?:datetime|statistics|date|timedelta|timezone|f?mean|median\w*|multimode|p?stdev|p?variance|quantiles)\b"
)


@dataclass(frozen=True, slots=True)
class _Program:
    """The program of the last run, in its file, and the limits it was compiled and run under."""

    source: bytes
    limits: Limits
    checker: bool
    file: int


class Worker:
    """A fork server in one layer of isolation. Not shared: `run` is awaited by one task at a time."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._reply: asyncio.Future[dict[str, Any]] | None = None
        self._runs = 0
        self._guard_s = 0.0
        self._idle = IdleTime()
        self._most_memory = 0
        self._watched: tuple[int, asyncio.TimerHandle] | None = None
        self._scratch: str | None = None
        self._program: _Program | None = None
        self._holds_compiled = False
        self._in_workspace = False

    @property
    def alive(self) -> bool:
        return self._socket is not None

    async def start(self) -> None:
        """Raises SandboxUnavailable with the layer's error when it could not start."""
        own_end, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own_end.setblocking(False)
        stderr = memory_file.empty("stderr")
        uid = throw_away_uid() if self.layer.own_user else None
        loop = asyncio.get_running_loop()
        try:
            own_end.send(self.layer.settings.encode())
            self._process = subprocess.Popen(  # noqa: ASYNC220 - milliseconds, and no child watcher needed
                [*self.layer.command, *self._make_scratch(uid), *([] if uid is None else [str(uid)])],
                stdin=server_end.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=self.layer.environment,
                cwd="/",
                start_new_session=True,
            )
            self._socket = own_end
            self._reply = loop.create_future()
            loop.add_reader(own_end, self._receive)
            server_end.close()
            await asyncio.wait_for(asyncio.shield(self._reply), START_S)
        except (OSError, TimeoutError, WorkerDied) as error:
            self.close()
            message, _ = memory_file.content(stderr, 4096)
            reason = (
                message.decode(errors="replace").strip().split("\n")[-1]
                or str(error)
                or "it did not start in time"
            )
            raise SandboxUnavailable(f"the {self.layer.name} sandbox does not start: {reason}") from None
        except BaseException:
            self.close()
            raise
        finally:
            server_end.close()
            os.close(stderr)
            if self._socket is None:
                own_end.close()

    async def run(self, order: Order) -> Ended:
        """Raises WorkerDied when the sandbox ended or fell silent, and RunRefused when no process could be started.

        Cancelling ends the run at once.
        """
        loop = asyncio.get_running_loop()
        if self._socket is None:
            raise WorkerDied("the sandbox is not running")
        self._runs += 1
        limits = order.limits
        self._guard_s = min(order.guard_s, limits.wall_s)
        self._idle = IdleTime()
        self._most_memory = limits.memory_mb << 20
        cases = order.input.count(b"\n") if order.mode == "call" else 1
        text = order.preamble + SEPARATOR + order.program
        program, same = self._put(text, limits, checker=order.mode == "checker")
        self._holds_compiled = True  # whatever ends this run early
        self._in_workspace |= order.mode == "workspace"
        message: dict[str, Any] = {
            "lines": cases - order.start,
            "run": self._runs,
            "mode": order.mode,
            "entry": self._command_line(order) if order.arguments else order.entry,
            "native": order.binary is not None,
            "language": order.language,
            "launch": self._launched(order.launch),
            "program": order.file,
            "files": [name for name, _ in order.files],
            "writes": order.writes,
            "start": order.start,
            "last": order.last,
            "same": same,
            "preloaded": self._names_packages(text),
            "more_modules": order.mode in ("apart", "together", "workspace")
            or _imports_more(text)
            or (order.mode == "call" and RARE_NAMES.search(text) is not None),
            "more": order.more,
            "runs": 1 + len(order.rest),
            "cpu": limits.cpu_s,
            "wall": limits.wall_s,
            "guard": self._guard_s,
            "memory": limits.memory_mb << 20,
            "output": limits.output_bytes,
        }
        if order.interactor is not None:
            message["interactor"] = _interactor(order.interactor)
            message["wall"] = limits.wall_s + order.interactor.limits.wall_s
        files = RunFiles(order, program if order.binary is None else order.binary, cases)
        try:
            self._reply = loop.create_future()
            try:
                socket.send_fds(self._socket, [json.dumps(message).encode()], files.descriptors)
            except OSError as error:
                self.close()
                raise WorkerDied(f"the sandbox does not listen: {error}") from None
            # Beside the cases a program may be compiled. Of further runs only the last may take longer than its hang guard.
            patience = message["wall"] * (STARVED_FACTOR * (cases + 1) + len(order.rest)) + PATIENCE_S
            reports = (await self._wait(patience))["runs"]
            if "refused" in reports[0]:
                raise RunRefused(f"the sandbox could not start a process: {reports[0]['refused']}")
            unlinked = order.mode == "tool" and not order.last
            self._holds_compiled = order.more or unlinked or len(reports) <= len(order.rest)
            ended = files.ended(reports)
        finally:
            self._stop_watching()
            files.close()
        if order.launch:  # where it lies is nothing that helps its author
            folder = f"{self._programs()}/".encode()
            ended = replace(ended, stderr=ended.stderr.replace(folder, b""))
        return ended

    def drop(self) -> None:
        """Ends what is kept for a further run, compiled or half so. To be called between candidates.

        A sandbox whose candidate had a folder to write in ends: its files belong to another user, and no later run may see them.
        """
        if self._in_workspace:
            self.close()
        if self._holds_compiled and self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended, and what it kept with it
                self._socket.send(b'{"drop": true}')
        self._holds_compiled = False

    def _command_line(self, order: Order) -> str:
        """In one text, the folder first: it is the program's own name."""
        folder = self.layer.scratch or self._scratch
        if order.mode == "workspace":
            return "\0".join([f"{folder}", *order.arguments])
        named = {name for name, _ in order.files} | {"", *order.writes}
        words = [f"{folder}/{word}" if word in named else word for word in order.arguments]
        return "\0".join([f"{folder}", *words])

    def _names_packages(self, text: bytes) -> bool:
        names = self.layer.packages.preloaded if self.layer.packages else {}
        return any(name.encode() in text for name in names)

    def _launched(self, words: tuple[str, ...]) -> str:
        folder = self._programs()
        return "\0".join(word.replace(FOLDER, folder) for word in words)

    def _programs(self) -> str:
        return f"{self.layer.scratch or self._scratch}/{PROGRAMS}"

    def _put(self, source: bytes, limits: Limits, *, checker: bool) -> tuple[int, bool]:
        """The program's file, and whether it was run last, under the same limits and for the same purpose.

        A candidate that is the checker's own text must not get what was compiled to see the checker's files.
        """
        last = self._program
        if last is not None and (last.source, last.limits, last.checker) == (source, limits, checker):
            return last.file, True
        file = memory_file.sealed("program", source)
        if last is not None:
            os.close(last.file)
        self._program = _Program(source, limits, checker, file)
        return file, False

    async def _wait(self, patience: float) -> dict[str, Any]:
        assert self._reply is not None
        # Not `wait_for`, which costs a run another future.
        timer = asyncio.get_running_loop().call_later(patience, _fell_silent, self._reply)
        try:
            return await asyncio.shield(self._reply)
        except asyncio.CancelledError:
            await self._kill_run()
            raise
        except WorkerDied:
            self.close()
            raise
        finally:
            timer.cancel()

    async def _kill_run(self) -> None:
        """Ends the run now; a server that does not confirm it is ended itself."""
        try:
            if self._socket is not None and self._reply is not None:
                self._socket.send(b'{"kill": true}')
                await asyncio.wait_for(asyncio.shield(self._reply), KILL_S)
        except (OSError, TimeoutError, WorkerDied, asyncio.CancelledError):
            self.close()

    def _receive(self) -> None:
        if self._socket is None or self._reply is None:
            return
        try:
            message, children, _, _ = socket.recv_fds(self._socket, 1 << 20, 2, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            message, children = b"", []
        reply = json.loads(message) if message else {}
        if "hanging" in reply:
            self._answer_hanging(reply["hanging"], children)
        elif "watch" in reply:
            self._watch(reply["watch"], children)
        elif message and not self._reply.done():
            self._reply.set_result(reply)
        elif not message:
            asyncio.get_running_loop().remove_reader(self._socket)
            if not self._reply.done():
                self._reply.set_exception(WorkerDied("the sandbox ended"))

    def _answer_hanging(self, seconds: float, children: list[int]) -> None:
        """A run is past its hang guard: has it been idle that long, or waiting for a processor?"""
        idle = self._idle.after(seconds, sum(occupied_s(child) for child in children))
        _close(children)
        answer = b'{"hangs": true}' if idle > 0.9 * self._guard_s else b'{"hangs": false}'
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(answer)

    def _watch(self, pid: int, children: list[int]) -> None:
        """Looks at the memory of a run's process from now on. pid: what the fork server calls it."""
        self._stop_watching()
        (child,) = children
        if self._reply is None or self._reply.done():
            _close(children)
        else:
            self._look(pid, child)

    def _look(self, pid: int, child: int) -> None:
        # The kernel counts in bundles of pages, so that this is no exact number; the peak at the end is.
        if resident(child) > self._most_memory + INEXACT and self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(b"memory %d" % pid)
        timer = asyncio.get_running_loop().call_later(LOOK_S, self._look, pid, child)
        self._watched = (child, timer)

    def _stop_watching(self) -> None:
        if self._watched is not None:
            child, timer = self._watched
            timer.cancel()
            os.close(child)
            self._watched = None

    def _make_scratch(self, uid: int | None) -> list[str]:
        """The folder for compilers as an argument, where the layer has none of its own."""
        if self.layer.scratch is not None:
            return []
        self._scratch = tempfile.mkdtemp(prefix="alpharay-build-")
        if uid is not None:
            os.chown(self._scratch, uid, uid)
        return [self._scratch]

    def close(self) -> None:
        """Ends the fork server and everything in it, at once."""
        self._stop_watching()
        self._in_workspace = False
        if self._socket is not None:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._program is not None:
            os.close(self._program.file)
            self._program = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        if self._reply is not None and self._reply.done() and not self._reply.cancelled():
            self._reply.exception()  # seen: a worker that is closed on purpose is no error


def _interactor(interactor: Interactor) -> dict[str, Any]:
    limits = interactor.limits
    return {
        "native": interactor.binary is not None,
        "cpu": limits.cpu_s,
        "memory": limits.memory_mb << 20,
        "output": limits.output_bytes,
        "accepts": interactor.accepts,
    }


def _imports_more(program: bytes) -> bool:
    """Whether it seems to import one of MORE_MODULES: a variable may have such a name as well, as a search's `queue` does.

    Wrong either way, it costs the program's run some milliseconds.
    """
    for number, name in enumerate(MORE_NAMES.finditer(program)):
        if number == NAMES:
            return True
        line = program[max(0, name.start() - IMPORT_BYTES) : name.start()].rpartition(b"\n")[2]
        if b"import" in line or b"from" in line:
            return True
    return False


def _fell_silent(reply: asyncio.Future[dict[str, Any]]) -> None:
    if not reply.done():
        reply.set_exception(WorkerDied("the sandbox fell silent"))


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
