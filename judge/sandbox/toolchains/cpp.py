"""The C++ compiler of this machine, taken apart into the programs that it starts.

`g++` only calls others: the compiler proper, the assembler and the linker. Each of them runs as one sandboxed process
that need not fork, in a sandbox that forbids it.
"""

import functools
import os
import re
import shlex
import shutil
from pathlib import Path

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.sandbox import readable
from alpharay.judge.sandbox.toolchains.tools import Tool, Toolchain, output_of

# C++20 first; what only an older standard accepts is compiled again.
STANDARDS = ("gnu++20", "gnu++17")
# For programs that ask for it; where the compiler is too old for it, they get C++20.
NEWEST = "gnu++23"
OBJECT, PROGRAM = "program.o", "program"
HOW_TO_GET_IT = (
    "install it with: apt-get install g++ (elsewhere: GCC 10 or newer with static libstdc++ and libc)"
)
# A static program needs no file at run time, so that its sandbox can hide all of them.
# By this macro contest programs, on most sites, leave out what helped their author at home.
DEFINED = "-DONLINE_JUDGE"
FLAGS = ("-O2", "-w", "-static", "-s", "-pipe", "-fmax-errors=5", DEFINED, "-x", "c++", "-", "-o", PROGRAM)


@functools.cache
def find() -> Toolchain:
    """Asks g++ what it would start. Raises LanguageUnavailable, with the way out."""
    gxx = shutil.which("g++")
    if gxx is None:
        raise LanguageUnavailable(f"C++ needs g++, which is not installed; {HOW_TO_GET_IT}")
    for library in ("libstdc++.a", "libc.a"):
        if not Path(_output_of(gxx, f"-print-file-name={library}").strip()).is_absolute():
            raise LanguageUnavailable(f"C++ needs the static library {library}; {HOW_TO_GET_IT}")
    tools: dict[str, Tool] = {}
    newest = NEWEST if _knows(gxx, NEWEST) else STANDARDS[0]
    for name, standard in (*zip(STANDARDS, STANDARDS, strict=True), (NEWEST, newest)):
        compiler, assembler, linker = _stages(gxx, standard)
        tools[f"compile {name}"] = Tool(path=_resolved(gxx, compiler[0]), argv=tuple(compiler), prints=True)
    tools["assemble"] = Tool(path=_resolved(gxx, "as"), argv=("as", *_to(assembler[1:], OBJECT)))
    tools["link"] = Tool(path=_resolved(gxx, "ld"), argv=("ld", *_link(linker[1:])), makes=PROGRAM)
    version = f"g++ {_output_of(gxx, '-dumpfullversion', '-dumpversion').strip()}, {' and '.join(STANDARDS)}"
    return Toolchain(version=version, tools=tools, read=_read(gxx, tools))


def _output_of(gxx: str, *arguments: str) -> str:
    """What g++ prints, on either stream."""
    return output_of(gxx, *arguments, needed="C++ needs g++", remedy=HOW_TO_GET_IT)


def _knows(gxx: str, standard: str) -> bool:
    try:
        _output_of(gxx, f"-std={standard}", "-E", "-x", "c++", os.devnull)
    except LanguageUnavailable:
        return False
    return True


def _stages(gxx: str, standard: str) -> list[list[str]]:
    output = _output_of(gxx, f"-std={standard}", *FLAGS, "-###")
    commands = [shlex.split(line.rstrip("|")) for line in output.splitlines() if line.startswith(" ")]
    if len(commands) != 3:
        raise LanguageUnavailable(
            f"C++ needs GCC's g++ of version 10 or newer, {gxx} is another; {HOW_TO_GET_IT}"
        )
    return [[word for word in command if word != "|"] for command in commands]


def _resolved(gxx: str, name: str) -> str:
    """The file behind a tool's name: inside the sandbox there is only that."""
    path = (
        name if Path(name).is_absolute() else _output_of(gxx, f"-print-prog-name={Path(name).name}").strip()
    )
    resolved = path if Path(path).is_absolute() else shutil.which(path)
    if resolved is None:
        raise LanguageUnavailable(f"C++ needs {name}, which g++ cannot find; {HOW_TO_GET_IT}")
    return str(Path(resolved).resolve())


def _to(arguments: list[str], output: str) -> list[str]:
    """The same command with another output."""
    index = arguments.index("-o")
    return [*arguments[: index + 1], output, *arguments[index + 2 :]]


def _link(arguments: list[str]) -> list[str]:
    """Without the plug-in for link-time optimisation, which starts programs of its own."""
    kept, skip = [], False
    for argument in _to(arguments, PROGRAM):
        if skip or argument.startswith("-plugin-opt="):
            skip = False
        elif argument == "-plugin":
            skip = True
        else:
            temporary = argument.endswith(".o") and Path(argument).parent == Path("/tmp")  # noqa: S108 - g++'s own
            kept.append(OBJECT if temporary else argument)
    if OBJECT not in kept:
        raise LanguageUnavailable(f"C++ needs GCC's g++ of version 10 or newer; {HOW_TO_GET_IT}")
    return kept


def _read(gxx: str, tools: dict[str, Tool]) -> tuple[str, ...]:
    """Folders of headers, and single files: what a program is linked from, the tools and their shared libraries.

    Folders of libraries hold much else, installed packages too.
    """
    output = _output_of(gxx, "-E", "-v", "-x", "c++", os.devnull)
    listed = output.partition("search starts here:\n#include <...> search starts here:\n")[2]
    folders = [line.strip() for line in listed.partition("End of search list")[0].splitlines()]
    paths = {str(Path(folder).resolve()) for folder in folders if Path(folder).is_dir()}
    for tool in tools.values():
        paths |= {tool.path} | readable.shared_libraries(Path(tool.path))
    paths |= {path for path in readable.SYSTEM if Path(path).is_file()}
    paths |= _linked(gxx, tools["link"].argv)
    return tuple(sorted(paths))


def _linked(gxx: str, arguments: tuple[str, ...]) -> set[str]:
    """The files that the linker opens, by the paths at which it looks for them."""
    names = [f"lib{word[2:]}.a" for word in arguments if word.startswith("-l")]
    files = [word for word in arguments if word.startswith("/")]
    files += [_output_of(gxx, f"-print-file-name={name}").strip() for name in names]
    linked: set[str] = set()
    folders = [word[2:] for word in arguments if word.startswith("-L")]
    while files:
        file = files.pop()
        if file in linked or not Path(file).is_file():
            continue
        linked.add(file)
        with Path(file).open("rb") as opened:
            beginning = opened.read(4096)
        if not beginning.startswith((b"!<arch>", b"\x7fELF")):  # a script of the linker's that names others
            files += re.findall(r"/[^\s()]+", beginning.decode("utf-8", "replace"))
    # It asks for each library in the folders as they were given to it, not where g++ says that it is.
    names += [Path(file).name for file in linked]
    return linked | {
        f"{folder}/{name}" for folder in folders for name in names if Path(folder, name).is_file()
    }
