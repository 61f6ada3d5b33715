"""What a sandbox is to run, and how that ended."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from alpharay.judge.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactor:
    """The other side of an interactive run: source, or a descriptor of the compiled program. accepts: its exit code then."""

    program: bytes
    binary: int | None
    limits: Limits
    accepts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One run of a program.

    mode: `stdio`, `call`, for test programs `apart` or `together`, `native` (a compiled program, in `binary`),
    `tool` (a part of the `language`'s compiler, named by `entry`), `checker` (of the tests, compiled where `binary` is given), or
    `interactive` (a program, compiled where `binary` is given, that talks with the `interactor`), or `workspace` (a Python
    command, in `arguments`, in a folder of files that stays as it is until `drop`).
    preamble: of the tests' format, executed before a Python program in the same module.
    input: its standard input, the cases to call (one JSON a line), or the test program.
    entry: the function to call. start: the first case to run. nonce: what a test program reports at its end.
    binary: a descriptor of the compiled program, which stays the caller's. last: no other tool needs what this made.
    more: the same program is to be run again, with the same limits, if this run ends well: it stays compiled.
    rest: inputs for further runs, each after one that ended well, for as long as they cost little (`stdio`, `native`).
    guard_s: how long it may sleep, where that is less than the limits' own hang guard.
    files: shown to a compiler or a checker in its folder, by name. writes: empty files there that a checker may write to;
    their contents come back as answers, each with its size behind it (`checking.written`). In a workspace the files are
    archives (`workspace.files.packed`), and `writes` what is wanted back, made or not.
    arguments: a checker's or an interactor's command line; a name of its files stands for its path, "" for the folder's.
    launch: the command line of the `language`'s runtime, in which FOLDER is where it finds `binary` as `file`.
    """

    mode: str
    program: bytes
    input: bytes
    limits: Limits
    entry: str = ""
    start: int = 0
    nonce: bytes = b""
    binary: int | None = None
    last: bool = False
    more: bool = False
    rest: tuple[bytes, ...] = ()
    preamble: bytes = b""
    guard_s: float = math.inf
    files: tuple[tuple[str, bytes], ...] = ()
    writes: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    interactor: Interactor | None = None
    language: str = ""
    launch: tuple[str, ...] = ()
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended, as its parent inside the sandbox saw it.

    ended: exit, cpu, wall, memory, output or cancel. code: exit code, negative for a signal. phase: how far it came
    (S sandboxed, L loading a module to call, R running, C does not compile). marks: CPU seconds at each answer of a call.
    tests: exit code of the tests' own process, if they had one; the other figures are the candidate's.
    sizes: bytes written to stdout, of which at most the limit is kept, and kept of what was written to stderr.
    rest: how the further runs ended.
    tests_phase, tests_stderr: of an interactor, as phase and stderr. first: the candidate ended no later than it.
    """

    ended: str
    code: int
    phase: str
    cpu_s: float
    wall_s: float
    memory: int
    tests: int | None
    stdout: bytes
    stderr: bytes
    sizes: tuple[int, int]
    marks: Sequence[float] = ()
    answers: bytes = b""
    rest: tuple["Ended", ...] = ()
    tests_phase: str = ""
    tests_stderr: bytes = b""
    first: bool = False


class Runner(Protocol):
    """What runs one order: a worker, or a stand-in that fails on purpose."""

    async def run(self, order: Order) -> Ended:
        """Raises WorkerDied and RunRefused."""
