"""Programs that are not Python: compiled candidates, and the tools that compile them.

Each replaces the sandboxed child by `execveat` of a descriptor that the host or the server opened, and closes it by that.
"""

import ctypes
import os
import signal
from collections.abc import Sequence
from typing import Any, NoReturn

from alpharay.judge.guest import candidate

IMAGE = 4  # the descriptor of what is to be executed
EXECVEAT, AT_EMPTY_PATH = 322, 0x1000
FAILED = b"F"  # reported when it could not be executed: our fault, and only we can report it
TOOL_ENVIRONMENT = (b"LC_ALL=C", b"PATH=/nonexistent")


def run_binary(argv: Sequence[str] = ("program",)) -> NoReturn:
    """`native`: a compiled program of a candidate's, or of the tests'."""
    _execute(
        [word.encode("utf-8", "surrogatepass") for word in argv],
        [f"{name}={value}".encode() for name, value in candidate.ENVIRONMENT.items()],
    )


def run_tool(argv: Sequence[str], scratch: str) -> NoReturn:
    """A part of the compiler, in the folder where it may write."""
    os.chdir(scratch)
    _execute([word.encode() for word in argv], TOOL_ENVIRONMENT)


def _execute(argv: list[bytes], environment: Sequence[bytes]) -> NoReturn:
    arguments = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    variables = (ctypes.c_char_p * (len(environment) + 1))(*environment, None)
    for descriptor in (candidate.REPORT, IMAGE):
        os.set_inheritable(descriptor, False)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by the interpreter, which passes that on
        signal.signal(ignored, signal.SIG_DFL)
    os.write(candidate.REPORT, candidate.LOADING)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(EXECVEAT, IMAGE, b"", arguments, variables, AT_EMPTY_PATH)
    number = ctypes.get_errno()
    os.write(candidate.REPORT, FAILED)
    raise OSError(number, f"execveat: {os.strerror(number)}")


class Tools:
    """The compiler's parts, opened once in the server, and the folder in which they work.

    tools: name -> {path, argv, makes}. scratch: where they work, empty between compilations.
    """

    def __init__(self, tools: dict[str, Any], scratch: str) -> None:
        self.scratch = scratch
        self._tools = tools
        self._images = {
            tool["path"]: os.open(tool["path"], os.O_PATH | os.O_CLOEXEC) for tool in tools.values()
        }

    def image(self, name: str) -> int:
        return self._images[self._tools[name]["path"]]

    def argv(self, name: str) -> list[str]:
        argv: list[str] = self._tools[name]["argv"]
        return argv

    def makes(self, name: str) -> str:
        """The file that the tool leaves; empty where what it prints is what it makes."""
        made: str = self._tools[name]["makes"]
        return made
