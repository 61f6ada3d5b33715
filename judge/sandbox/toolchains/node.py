"""Node.js: runs JavaScript, and TypeScript where it can take the types away itself."""

import functools
import json
import mmap
import re
import shutil
from pathlib import Path

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.sandbox import readable
from alpharay.judge.sandbox.toolchains.tools import (
    MEMORY,
    PROGRAM,
    STACK,
    Caller,
    Runtime,
    Tool,
    Toolchain,
    output_of,
    system_files,
    with_targets,
)

OLDEST = 18
NEEDED = "JavaScript needs node"
HOW_TO_GET_IT = "install it with: apt-get install nodejs (Node.js 18 or newer)"
TYPES_SINCE = "22.13"
CHECK, CALL = "check.cjs", "call.cjs"
# Direct, so that it sees the program's scope; by a name that no function to be called has.
ENDING = """
;globalThis[Symbol.for("alpharay.scope")]?.(($name) => { "use strict"; return eval($name); });
"""
QUESTION = """
const strips = typeof require("node:module").stripTypeScriptTypes === "function";
console.log(JSON.stringify([process.versions.node, process.execPath, strips]));
"""
# Debian's Node, which is a shared library, reads some of its own library from files when it starts: which, stands only
# in the strings of its code.
SHARED, OWN_FILE = "libnode.so", re.compile(rb"\0(/[\w./+-]+\.[cm]?js)(?=\0)")
# No configuration of OpenSSL's, which may not be readable; no rings of the kernel's, which the sandbox refuses.
ENVIRONMENT = ("LC_ALL=C.UTF-8", "OPENSSL_CONF=/dev/null", "UV_USE_IO_URING=0")
# What takes the types away is WebAssembly, for which Node would reserve more address space than a compiler may.
LITTLE_SPACE = "--disable-wasm-trap-handler"
FLAGS = ("--no-warnings", "--v8-pool-size=2", f"--max-old-space-size={MEMORY}", f"--stack-size={STACK}000")


@functools.cache
def look() -> tuple[str, str, tuple[str, ...], bool]:
    """Version, path, what it reads, and whether it takes types away."""
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        raise LanguageUnavailable(f"{NEEDED}, which is not installed; {HOW_TO_GET_IT}")
    try:
        version, path, strips = json.loads(
            output_of(node, "-e", QUESTION, needed=NEEDED, remedy=HOW_TO_GET_IT)
        )
        major = int(version.partition(".")[0])
    except ValueError:
        raise LanguageUnavailable(f"{NEEDED}, and {node} is something else; {HOW_TO_GET_IT}") from None
    if major < OLDEST:
        raise LanguageUnavailable(f"{NEEDED} {OLDEST} or newer, {node} is {version}; {HOW_TO_GET_IT}")
    resolved = str(Path(path).resolve())
    libraries = readable.shared_libraries(Path(resolved))
    own = (
        file for library in libraries if Path(library).name.startswith(SHARED) for file in own_files(library)
    )
    read = with_targets(own) | libraries | system_files() | {resolved}
    return version, resolved, tuple(sorted(read)), bool(strips)


def own_files(library: str) -> set[Path]:
    """The files that a shared library of Node's names, whether they are there or not."""
    with Path(library).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        return {Path(match[1].decode()) for match in OWN_FILE.finditer(code)}


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _toolchain(version: str, path: str, read: tuple[str, ...], language: str, *flags: str) -> Toolchain:
    check = (path, "--no-warnings", "--experimental-vm-modules", *flags, "-e", _script(CHECK), language)
    runtime = Runtime(
        path=path,
        argv=(path, *FLAGS, PROGRAM),
        read=read,
        environment=ENVIRONMENT,
    )
    return Toolchain(
        version=version,
        tools={"compile": Tool(path=path, argv=check, environment=ENVIRONMENT, prints=True)},
        read=read,
        runtime=runtime,
        caller=Caller(file=CALL, text=_script(CALL), ending=ENDING),
        reserves=True,
    )


def find() -> Toolchain:
    """JavaScript. Raises LanguageUnavailable, with the way out."""
    version, path, read, _ = look()
    return _toolchain(f"Node.js {version}", path, read, "javascript")


def find_typescript() -> Toolchain:
    """TypeScript. Raises LanguageUnavailable, with the way out."""
    version, path, read, strips = look()
    if not strips:
        raise LanguageUnavailable(
            f"TypeScript needs Node.js {TYPES_SINCE} or newer, which takes the types away itself, and {path} is {version}; "
            "install a newer one from nodejs.org or your distribution"
        )
    name = f"Node.js {version}, types taken away and not checked"
    return _toolchain(name, path, read, "typescript", LITTLE_SPACE)
