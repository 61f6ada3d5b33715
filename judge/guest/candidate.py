"""Runs a candidate's Python in the sandboxed child: as a program (`stdio`) or case by case (`call`).

Nothing here is trusted by the host. The candidate shares this process and may patch all of it; then its
answers are what it made of them, and the host compares them with expected ones that were never in here.
"""

import atexit
import builtins
import contextlib
import gc
import io
import json
import os
import random
import site
import sys
import threading
import traceback
from types import CodeType, ModuleType, TracebackType
from typing import Any

from alpharay.judge.guest import furnish

DIGITS = sys.int_info.default_max_str_digits
REPORT = 3  # the descriptor on which this child reports
SANDBOXED, LOADING, READY, UNPARSABLE = (
    b"S",
    b"L",
    b"R",
    b"C",
)  # how far this child came, the first bytes of its report
VALUE, WIDE, NOT_JSON, RAISED = "V", "H", "N", "E"  # the first character of a call's answer
FILE_NAME = "program.py"
PREAMBLE_NAME = "preamble.py"
CRASHED = 121  # the exit code of a checker that ended by an error of its own
# Between a format's own text and the program's, which Python refuses when it holds this itself.
SEPARATOR = b"\0"
# Contest programs ask whether they run at home.
ENVIRONMENT = {"ONLINE_JUDGE": "1"}


# A function's code is made fast at its eighth call.
REHEARSALS = 16
REHEARSAL = b"""
import sys
from collections import defaultdict
def solve(items):
    seen = defaultdict(int)
    for index, item in enumerate(sorted(items)):
        seen[item] += index * 2 - 1
    return sum(seen.values()), max(items), [x for x in items if x % 2], f"{len(seen)}"
try:
    n = int(input())
except EOFError:
    pass
a, b = map(int, "1 2".split())
lines = sys.stdin.read().split("\\n") + sys.stdin.readlines()
print(a + b, *solve([a, b, 5]), sep=" ", end="\\n")
sys.stdout.write("x".join(["a", "b"]).strip() + str({1: "a"}.get(2)))
"""
# The shared generator's own seeding, without what `random.seed` checks first.
_seed = super(random.Random, random.random.__self__).seed  # type: ignore[attr-defined]
encode = json.JSONEncoder(allow_nan=True, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode
decode = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # of text without blanks around it


def reseed() -> None:
    """So that no two runs have the same random numbers: what was imported before the fork was seeded there."""
    _seed()
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()


def read_all(descriptor: int) -> bytes:
    size = os.lseek(descriptor, 0, os.SEEK_END)  # `fstat` makes much more than is asked for
    return os.pread(descriptor, size, 0) if size else b""


def compiled(program: bytes) -> list[CodeType] | None:
    """What is to be executed, one after another. program: a preamble of its format, SEPARATOR, what the model wrote.

    None: it does not compile; why is on stderr.
    """
    preamble, _, source = program.partition(SEPARATOR)
    before: list[CodeType] = []
    try:
        if preamble:
            before = _preamble(preamble)
        return [*before, compile(source, FILE_NAME, "exec", dont_inherit=True)]
    except BaseException as error:
        whole = _continued(preamble, source) if preamble and isinstance(error, SyntaxError) else None
        if whole is None:
            print_error(error, keep=1)
        return None if whole is None else [whole]


def _preamble(text: bytes) -> list[CodeType]:
    """Nothing for one that is no program by itself: an answer then has to continue it, or to stand alone."""
    try:
        return [compile(text, PREAMBLE_NAME, "exec", dont_inherit=True)]
    except SyntaxError:
        return []


def _continued(preamble: bytes, source: bytes) -> CodeType | None:
    """The program as the rest of the preamble's last function, indented by itself or by its first line or not at all."""
    start = preamble if preamble.endswith(b"\n") else preamble + b"\n"
    for rest in (source, b"    " + source.lstrip(b"\n"), source.replace(b"\n", b"\n    ")):
        with contextlib.suppress(SyntaxError, ValueError):
            return compile(
                start + (rest if rest[:1] in b" \t\n" else b"    " + rest),
                FILE_NAME,
                "exec",
                dont_inherit=True,
            )
    return None


def execute(codes: list[CodeType], space: dict[str, Any]) -> None:
    for code in codes:
        exec(code, space)  # noqa: S102 - this is what the sandbox is for


def open_streams() -> None:
    """Fresh standard streams, made in the server over /dev/null and never used there.

    A child puts its own files, which are new and can be sought in as well, on the same descriptors.
    """
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0)), "utf-8")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(  # type: ignore[misc]
        io.BufferedWriter(io.FileIO(1, "w")), "utf-8"
    )
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(  # type: ignore[misc]
        io.BufferedWriter(io.FileIO(2, "w")), "utf-8", "backslashreplace", line_buffering=True
    )
    # As the interpreter sets them: templates for fast input look at the mode.
    for stream, name, mode in (
        (sys.stdin, "stdin", "r"),
        (sys.stdout, "stdout", "w"),
        (sys.stderr, "stderr", "w"),
    ):
        stream.mode = mode  # type: ignore[misc]
        stream.buffer.raw.name = f"<{name}>"  # type: ignore[attr-defined]


def main_module(name: str, module: ModuleType | None = None) -> dict[str, Any]:
    """The module that the program's text becomes: a fresh one, or what was made ready for it."""
    module = module or ModuleType(name)
    module.__dict__.update(__builtins__=builtins, __file__=FILE_NAME, __cached__=None)
    sys.modules[name] = module
    return module.__dict__


def candidate_module(codes: list[CodeType], entry_point: str, *, furnished: bool = False) -> dict[str, Any]:
    """The module of a program that is called, with the usual names in it where those are usual."""
    if not (furnished or furnish.is_wanted(codes)):
        return main_module("candidate")
    return main_module("candidate", furnish.module(entry_point))


def print_error(error: BaseException, *, keep: int) -> None:
    """The traceback as Python prints it, without the first `keep` frames, which are ours."""
    trace: TracebackType | None = error.__traceback__
    for _ in range(keep):
        trace = trace.tb_next if trace else None
    try:
        lines = traceback.format_exception(type(error), error, trace, limit=-6)
        os.write(2, "".join(lines).encode("utf-8", "backslashreplace")[-4000:])
    except BaseException:  # a __str__ that raises, no memory left
        with contextlib.suppress(OSError):  # the file is full
            os.write(2, type(error).__name__.encode("utf-8", "backslashreplace"))


def exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    os.write(2, str(error.code).encode("utf-8", "backslashreplace")[:4000])
    return 1


def finish(code: int) -> int:
    """What the interpreter does at its end and a program may count on: threads, exit handlers, flushed output."""
    try:
        if len(threading._active) > 1 or threading._threading_atexits:  # type: ignore[attr-defined]  # noqa: SLF001
            threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - what the interpreter itself calls
        atexit._run_exitfuncs()  # noqa: SLF001
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BaseException as error:
        print_error(error, keep=1)
        return code or 1
    return code


def run_program(codes: list[CodeType], space: dict[str, Any]) -> int:
    """`stdio`: the program in the space of its `__main__`. Returns the exit code."""
    try:
        execute(codes, space)
    except SystemExit as error:
        return finish(exit_code(error))
    except BaseException as error:
        print_error(error, keep=2)
        return finish(1)
    return finish(0)


def run_checker(codes: list[CodeType], space: dict[str, Any], argv: list[str]) -> int:
    """A program of the tests': with a command line, and the files beside its source to import. Returns the exit code.

    What it does not catch ends it with CRASHED: Python's own 1 is what checkers say "wrong answer" by.
    """
    sys.argv = [FILE_NAME, *argv[1:]]
    sys.path[0] = argv[0]
    try:
        execute(codes, space)
    except SystemExit as error:
        return finish(exit_code(error))
    except BaseException as error:
        print_error(error, keep=2)
        finish(1)
        # Apart from the message, which may quote what is not to be shown.
        with contextlib.suppress(OSError):  # the file is full
            os.write(2, b"\0" + type(error).__name__.encode("ascii", "replace"))
        return CRASHED
    return finish(0)


def run_calls(source: bytes, cases: bytes, entry_point: str, start: int) -> int:
    """`call`: the text as a module, then one line of answer for each case from `start` on."""
    codes = compiled(source)
    if codes is None:
        os.write(REPORT, UNPARSABLE)
        return 1
    os.write(REPORT, LOADING)
    lines = cases.decode("ascii").split("\n")[start:-1]
    write, space = _line_writer(), candidate_module(codes, entry_point, furnished=True)
    try:
        execute(codes, space)
        function = find(space, entry_point)
    except SystemExit as error:
        os.write(2, f"the program exited ({exit_code(error)}) before it could be called".encode())
        return 1
    except BaseException as error:
        print_error(error, keep=2)
        return 1
    os.write(REPORT, READY)
    for line in lines:
        write(answer(function, line, encode))
    return 0


def find(space: dict[str, Any], entry_point: str) -> Any:
    """The function of that name, a method by its dotted name, or the method of a LeetCode-style `Solution`."""
    first, *rest = entry_point.split(".")
    if first in space:
        target = space[first]
    elif isinstance(space.get("Solution"), type) and hasattr(space["Solution"], first):
        target = getattr(space["Solution"](), first)
    else:
        raise NameError(f"the program defines no {entry_point!r}")
    for name in rest:
        target = getattr(target() if isinstance(target, type) else target, name)
    return target


def answer(function: Any, line: str, encode: Any) -> str:
    """line: the case, read only now: all of them at once may need more memory than a program may take."""
    try:
        case = decode(line, 0)[0]
        value = function(*case["args"], **case["kwargs"])
    except BaseException as error:
        return RAISED + json.dumps(describe(error))
    try:
        sys.set_int_max_str_digits(DIGITS)
        try:
            return VALUE + str(encode(value))
        except (
            ValueError
        ):  # an integer with more digits than Python prints: in decimal it would cost quadratic time
            return WIDE + str(encode(widen(value)))
        finally:
            sys.set_int_max_str_digits(0)
    except BaseException as error:
        return NOT_JSON + json.dumps(f"{type(value).__name__}: {describe(error)}"[:300])


def widen(value: Any) -> Any:
    """The value with integers in hexadecimal: `i` and the number, against `s` and the text for strings."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return "i" + hex(int.__index__(value))
    if isinstance(value, str):
        return "s" + value
    if isinstance(value, list | tuple):
        return [widen(item) for item in value]
    if isinstance(value, dict):
        return {
            "s" + (key if isinstance(key, str) else json.dumps(key)): widen(item)
            for key, item in value.items()
        }
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def describe(error: BaseException) -> str:
    """The error and the candidate's own line that raised it."""
    trace = error.__traceback__
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE_NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    try:
        text = str(error)[:300]
    except BaseException:
        text = "(an error that cannot be printed)"
    return f"{type(error).__name__}: {text}" + (f" (line {line})" if line else "")


def _line_writer() -> Any:
    send = os.write

    def write(line: str) -> None:
        data = memoryview(line.encode("ascii") + b"\n")
        while data:
            data = data[send(REPORT, data) :]

    return write


def hide_ours() -> None:
    """Removes alpharay's modules from a candidate's sight. None can be imported afterwards."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "alpharay"]:
        del sys.modules[name]


def settle_in() -> None:
    """The folder of a script is the first to be searched. Not before: no module of alpharay may be looked up there."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - pathlib would have to be loaded into the server


def rehearse() -> None:
    """Runs a program of the usual kind over /dev/null, so that what the interpreter makes ready on first use is ready."""
    space: dict[str, Any] = {"__builtins__": builtins, "__name__": "rehearsal"}
    for _ in range(REHEARSALS):
        reseed()
        exec(compile(REHEARSAL, FILE_NAME, "exec", dont_inherit=True), space)  # noqa: S102
        sys.stdout.flush()
        answer(max, '{"args": [[1, 2.5]], "kwargs": {}}', encode)


def prepare() -> None:
    """In the server, once: what every child then has without work of its own."""
    open_streams()
    # What a script finds, and the interpreter leaves out without `site`: exit, quit, help, copyright, credits, license.
    site.setquit()
    site.setcopyright()
    site.sethelper()
    # As on the sites, where long numbers are read and printed whole.
    sys.set_int_max_str_digits(0)
    sys.argv = [FILE_NAME]
    sys.orig_argv = ["python3", FILE_NAME]
    sys.path = [entry for entry in sys.path if entry]
    rehearse()
    settle()


def settle() -> None:
    """Leaves to the children nothing that a collection of theirs would look at, and so copy."""
    gc.collect()
    gc.freeze()
