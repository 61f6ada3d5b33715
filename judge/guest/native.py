"""Programs that are not Python: compiled candidates, what runs those that are no machine code, and what compiles them.

Each replaces the sandboxed child by `execveat` of a descriptor that the host or the server opened, and closes it by that.
"""

import ctypes
import os
import signal
from collections.abc import Sequence
from typing import Any, NoReturn

from alpharay.judge.guest import candidate
from alpharay.judge.guest.seccomp import AT_EMPTY_PATH, EXECVEAT, IMAGE

# Reported when it could not be executed, which only we can: a candidate's own image, or a program of this machine's.
FAILED, NOT_STARTED = b"F", b"M"
TOOL_ENVIRONMENT = (b"LC_ALL=C", b"PATH=/nonexistent")


# What Go's runtime reads, and nothing else does: a thread for each of the machine's cores would only cost CPU time, and
# it is to collect its garbage before this part of the memory limit is full.
GO_PROCESSORS, GO_MEMORY = 2, 0.9


def run_binary(argv: Sequence[str], memory: int) -> NoReturn:
    """`native`: a compiled program of a candidate's, or of the tests'. memory: bytes that it may take."""
    go = {"GOMAXPROCS": str(GO_PROCESSORS), "GOMEMLIMIT": f"{int(GO_MEMORY * memory)}B"}
    _execute(
        [word.encode("utf-8", "surrogatepass") for word in argv],
        [f"{name}={value}".encode() for name, value in (candidate.ENVIRONMENT | go).items()],
    )


def run_in_runtime(argv: Sequence[str], environment: Sequence[str], *, reports: bool = False) -> NoReturn:
    """A candidate's program by its language's runtime. reports: it has the report's descriptor."""
    variables = [f"{name}={value}" for name, value in candidate.ENVIRONMENT.items()]
    _execute(
        [word.encode() for word in argv],
        [each.encode() for each in (*variables, *environment)],
        failed=NOT_STARTED,
        closed=(IMAGE,) if reports else (candidate.REPORT, IMAGE),
    )


def run_tool(argv: Sequence[str], environment: Sequence[str], scratch: str) -> NoReturn:
    """A part of the compiler, in the folder where it may write."""
    os.chdir(scratch)
    variables = [*(each.encode() for each in environment), *TOOL_ENVIRONMENT]
    _execute([word.encode() for word in argv], variables, failed=NOT_STARTED)


def _execute(
    argv: list[bytes],
    environment: Sequence[bytes],
    *,
    failed: bytes = FAILED,
    closed: Sequence[int] = (candidate.REPORT, IMAGE),
) -> NoReturn:
    """failed: what is reported where it cannot be. closed: descriptors that it does not get."""
    arguments = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    variables = (ctypes.c_char_p * (len(environment) + 1))(*environment, None)
    for descriptor in closed:
        os.set_inheritable(descriptor, False)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by the interpreter, which passes that on
        signal.signal(ignored, signal.SIG_DFL)
    os.write(candidate.REPORT, candidate.LOADING)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(EXECVEAT, IMAGE, b"", arguments, variables, AT_EMPTY_PATH)
    number = ctypes.get_errno()
    os.write(candidate.REPORT, failed)
    raise OSError(number, f"execveat: {os.strerror(number)}")


class Tools:
    """What compiles and runs each language, opened once in the server.

    languages: name -> {tools: {stage: {path, argv, makes, gathers}}, runtime: {path, environment} or None}.
    """

    def __init__(self, languages: dict[str, Any]) -> None:
        self._languages = languages
        self._images = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in _paths(languages)}

    def image(self, language: str, stage: str) -> int:
        return self._images[self._tool(language, stage)["path"]]

    def command(self, language: str, stage: str) -> tuple[list[str], list[str]]:
        """Its command line and its environment."""
        tool = self._tool(language, stage)
        return tool["argv"], tool["environment"]

    def makes(self, language: str, stage: str) -> tuple[str, str]:
        """The file that the tool leaves, empty where what it prints is what it makes; the end of those that it leaves."""
        tool = self._tool(language, stage)
        return tool["makes"], tool["gathers"]

    def runtime(self, language: str) -> int:
        return self._images[self._languages[language]["runtime"]["path"]]

    def environment(self, language: str) -> list[str]:
        environment: list[str] = self._languages[language]["runtime"]["environment"]
        return environment

    def _tool(self, language: str, stage: str) -> dict[str, Any]:
        tool: dict[str, Any] = self._languages[language]["tools"][stage]
        return tool


def _paths(languages: dict[str, Any]) -> set[str]:
    used = [tool for language in languages.values() for tool in language["tools"].values()]
    used += [language["runtime"] for language in languages.values() if language["runtime"]]
    return {each["path"] for each in used}
