"""What a language needs of this machine: programs that compile, one that runs, and the files that each may read."""

import os
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.sandbox import readable

# Stand for what is known only when a program is run: the path of its file; MiB of its memory limit and of its stack.
PROGRAM, FOLDER, MEMORY, STACK = "{program}", "{folder}", "{memory}", "{stack}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One program of a toolchain. argv: with its name first. makes: the file it leaves, relative to where it runs.

    prints: it makes what it prints.
    prints_diagnostics: its diagnostics are what it prints.
    gathers: the end of the names of files that it leaves; the next tool finds them as 0.o, 1.o and so on.
    """

    path: str
    argv: tuple[str, ...]
    makes: str = ""
    prints: bool = False
    prints_diagnostics: bool = False
    gathers: str = ""
    environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What runs compiled programs that are no machine code. argv: with its path first, and PROGRAM, MEMORY, STACK in it.

    read: folders and files that programs see of it. environment: NAME=value, beside that of all programs.
    stack_share: of the memory limit, what part the main thread's stack may be.
    """

    path: str
    argv: tuple[str, ...]
    read: tuple[str, ...]
    environment: tuple[str, ...] = ()
    stack_share: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """How one function of a program is called: by a program of the judge's in the same runtime, laid beside it.

    file, text: that program; its arguments are the program's path, the function's name and the number of the first case.
    ending: follows the program's text, so that it sees names that the program does not export.
    """

    file: str
    text: str
    ending: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """version: for people. tools: by stage. read: folders and files that they need. runtime: None for machine code.
    caller: None where functions cannot be called by themselves.

    helpers: files that are laid where the tools work. folders: they make folders there.
    reserves: they reserve much more address space than they use.
    prepare: makes what they read, where it is not there yet; it may take minutes. Raises LanguageUnavailable.
    """

    version: str
    tools: dict[str, Tool]
    read: tuple[str, ...]
    runtime: Runtime | None = None
    caller: Caller | None = None
    helpers: tuple[tuple[str, bytes], ...] = ()
    folders: bool = False
    reserves: bool = False
    prepare: Callable[[], None] | None = None


def output_of(program: str, *arguments: str, needed: str, remedy: str) -> str:
    """What a program prints, on either stream. Raises LanguageUnavailable. needed: who needs what, for the message."""
    try:
        done = subprocess.run(
            [program, *arguments],
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "LC_ALL": "C",
                "HOME": os.environ.get("HOME", "/"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LanguageUnavailable(f"{needed}, but {program} does not work: {error}; {remedy}") from None
    return done.stdout + done.stderr


def with_targets(paths: Iterable[Path]) -> set[str]:
    """The paths, and where links among them lead."""
    targets: set[str] = set()
    for path in paths:
        if path.exists():
            targets |= {str(path), str(path.resolve())}
    return targets


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def system_files() -> set[str]:
    """What the C library looks for by itself, and the loaders of programs."""
    return {path for path in (*readable.SYSTEM, *readable.LOADERS) if Path(path).exists()}
