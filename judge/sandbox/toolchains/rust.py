"""The Rust compiler, and the linker and static C library that come with g++.

`rustc` would start a linker. Here it stops at an object file, and the linker is a sandboxed run of its own, with the
command line that links C++. What rustc adds when it links itself, the object that says which allocator is used, is made
once: it is left over beside a library of nothing.
"""

import shutil
from pathlib import Path

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.sandbox import readable
from alpharay.judge.sandbox.toolchains import cpp
from alpharay.judge.sandbox.toolchains.tools import Tool, Toolchain, output_of, system_files

EDITION, TARGET = "2021", "x86_64-unknown-linux-gnu"
NEEDED = "Rust needs rustc"
HOW_TO_GET_IT = "install it with: apt-get install rustc g++ (or by rustup)"
# Not linked into programs that unwind.
LEFT_OUT = ("libpanic_abort-", "libtest-", "libproc_macro-", "libprofiler_builtins-", "libgetopts-")
ALLOCATOR = "allocator.o"
# A static program needs no file at run time.
FLAGS = (
    *("--edition", EDITION, "--cap-lints", "allow", "-C", "opt-level=2", "-C", "codegen-units=1"),
    *("-C", "embed-bitcode=no", "-C", "target-feature=+crt-static", "-C", "relocation-model=static"),
)
# Debian's rustc makes folders elsewhere while it archives.
ENVIRONMENT = ("TMPDIR=.",)
COMPILE = (
    *("--crate-name", "program", "--crate-type", "bin", *FLAGS, "--cfg", "ONLINE_JUDGE"),
    *("--emit", "obj", "-o", cpp.OBJECT, "-"),
)
LIBRARY = (
    "--crate-name",
    "nothing",
    "--crate-type",
    "staticlib",
    *FLAGS,
    "-C",
    "save-temps",
    "-o",
    "nothing.a",
    "-",
)


def find() -> Toolchain:
    """Raises LanguageUnavailable, with the way out."""
    rustc = shutil.which("rustc")
    if rustc is None:
        raise LanguageUnavailable(f"{NEEDED}, which is not installed; {HOW_TO_GET_IT}")
    linker = _linker()
    root = Path(output_of(rustc, "--print", "sysroot", needed=NEEDED, remedy=HOW_TO_GET_IT).strip())
    # What is on the path may be rustup's, which starts the real one.
    compiler = root / "bin" / "rustc"
    library = root / "lib" / "rustlib" / TARGET / "lib"
    archives = sorted(str(file) for file in library.glob("*.rlib") if not file.name.startswith(LEFT_OUT))
    if not compiler.is_file() or not archives:
        raise LanguageUnavailable(f"{NEEDED} with the library for {TARGET} in {root}; {HOW_TO_GET_IT}")
    version = output_of(str(compiler), "--version", needed=NEEDED, remedy=HOW_TO_GET_IT).split()[1]
    link = linker.tools["link"]
    index = link.argv.index(cpp.OBJECT)
    # A program with an allocator of its own says some of it again.
    objects = (
        cpp.OBJECT,
        ALLOCATOR,
        "-z",
        "muldefs",
        "--gc-sections",
        "--start-group",
        *archives,
        "--end-group",
    )
    rust = (str(compiler), "--sysroot", str(root))
    tools = {
        "allocator": Tool(
            path=str(compiler.resolve()), argv=(*rust, *LIBRARY), gathers=".rcgu.o", environment=ENVIRONMENT
        ),
        "combine": Tool(path=link.path, argv=("ld", "-r", "-o", ALLOCATOR, "0.o", "1.o"), makes=ALLOCATOR),
        "compile": Tool(path=str(compiler.resolve()), argv=(*rust, *COMPILE), environment=ENVIRONMENT),
        "link": Tool(
            path=link.path,
            argv=(*link.argv[:index], *objects, *link.argv[index + 1 :]),
            makes=link.makes,
        ),
    }
    read = {*linker.read, *readable.shared_libraries(compiler), *system_files(), str(compiler.resolve())}
    read.add(str(library))  # which it lists, and nothing else is installed into
    return Toolchain(
        version=f"rustc {version}, edition {EDITION}",
        tools=tools,
        read=tuple(sorted(read)),
        folders=True,
        reserves=True,
    )


def _linker() -> Toolchain:
    try:
        return cpp.find()
    except LanguageUnavailable:
        raise LanguageUnavailable(
            f"Rust needs the linker and the static C library that come with g++; {HOW_TO_GET_IT}"
        ) from None
