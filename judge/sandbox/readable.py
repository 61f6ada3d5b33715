"""What a judged program and a compiler may read, entry by entry.

Never a whole tree that packages are installed into: beside the standard library and the system's libraries lie
`site-packages`, and in these whatever was installed, hidden tests among it.
"""

import functools
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("site-packages", "dist-packages")
# Who starts a dynamically linked program, such as an interpreter or a compiler.
LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1")
# What the C library looks for by itself, and time zones.
SYSTEM = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/usr/lib/locale/C.UTF-8",
    "/usr/lib/locale/C.utf8",
)
# Parts of the C library and the compiler's that programs load by name, through ctypes or for a thread's end.
BY_NAME = re.compile(r"lib(c|m|dl|rt|pthread|util|gcc_s|stdc\+\+)\.so(\.\d+)+")
# Linked to a windowing system that no program can reach here.
LEFT_OUT = "_tkinter."


@functools.cache
def interpreter() -> Path:
    """The interpreter under any virtual environment: only its standard library goes along."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def stdlib_folders() -> list[Path]:
    """The folders of the standard library, in which packages may be installed as well."""
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    folders = {Path(sysconfig.get_path(name, vars=base)).resolve() for name in ("stdlib", "platstdlib")}
    return sorted(folder for folder in folders if folder.is_dir())


@functools.cache
def for_programs() -> tuple[str, ...]:
    """For Python programs: the interpreter, the standard library and the shared libraries of both."""
    entries = [entry for folder in stdlib_folders() for entry in sorted(folder.iterdir()) if _standard(entry)]
    extensions = sorted(
        str(extension)
        for folder in stdlib_folders()
        for extension in folder.glob("lib-dynload/*.so")
        if not extension.name.startswith(LEFT_OUT)
    )
    libraries = shared_libraries(interpreter(), extensions)
    homes = {Path(library).parent for library in libraries if Path(library).name.startswith(("libc.", "ld-"))}
    libraries |= {str(file) for home in homes for file in home.iterdir() if BY_NAME.fullmatch(file.name)}
    libraries -= set(extensions)
    paths = [str(interpreter()), *map(str, entries), *sorted(libraries), *SYSTEM]
    return tuple(path for path in paths if Path(path).exists())


def _standard(entry: Path) -> bool:
    name = entry.name.split(".")[0]
    listed = name in sys.stdlib_module_names or name in ("lib-dynload", "__pycache__")
    return listed or name.startswith("_sysconfigdata")


def shared_libraries(program: Path, loaded: Iterable[str] = ()) -> set[str]:
    """The shared libraries of a program and of what it loads later, by the paths at which its loader looks for them."""
    libraries = {loader for loader in LOADERS if Path(loader).exists()}
    for loader in sorted(libraries):
        try:
            listing = subprocess.run(
                [loader, "--list", str(program)],
                env={"LD_PRELOAD": " ".join(loaded)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,  # it fails for a static program, which needs none
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        libraries |= set(re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", listing, re.MULTILINE))
    return {path for path in libraries if Path(path).exists()}


def without_links(path: str) -> tuple[str, list[tuple[str, str]]]:
    """Where the entry really lies, and the links (where, to what) by which this path leads to its folder.

    The entry's own name is kept: it is that by which it is looked up.
    """
    links: list[tuple[str, str]] = []
    reached = Path("/")
    for part in Path(path).parent.parts[1:]:
        reached = reached.parent if part == ".." else reached / part
        if reached.is_symlink():
            links.append((str(reached), str(reached.readlink())))
            reached = reached.resolve()
    return str(reached / Path(path).name), links
