"""Go: the compiler and the linker of its distribution, each a sandboxed run of its own, and the standard library.

The `go` command would start these two, and keep what it makes in a cache that the next build trusts. Candidates' sources never
meet it. It is called once for a Go of this machine, outside the sandbox and on Go's own sources alone, to compile the standard
library, which has come without compiled packages since Go 1.20. These lie in alpharay's cache folder, which sandboxes can only read.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.sandbox import readable
from alpharay.judge.sandbox.cache_folder import cache_folder
from alpharay.judge.sandbox.toolchains.tools import Tool, Toolchain, output_of, system_files

OLDEST = (1, 18)  # the first with generics
NEEDED = "Go needs go"
HOW_TO_GET_IT = "install it with: apt-get install golang-go (Go 1.18 or newer)"
TARGET = "linux_amd64"
SOURCE, OBJECT, PROGRAM = "program.go", "program.o", "program"
# Before a program, so that traces and diagnostics name no folder of the judge's.
NAMED = "/program.go"
HEAD = f"//line {NAMED}:1:1\n".encode()
COMPILE_CONFIGURATION, LINK_CONFIGURATION = "compile.cfg", "link.cfg"
# Of the standard library, what programs of one file use: no web, no cryptography beyond hashes, no tools.
PACKAGES = [
    "bufio",
    "bytes",
    "cmp",
    "compress/gzip",
    "container/heap",
    "container/list",
    "container/ring",
    "context",
    "crypto/md5",
    "crypto/sha1",
    "crypto/sha256",
    "crypto/sha512",
    "encoding/base32",
    "encoding/base64",
    "encoding/binary",
    "encoding/csv",
    "encoding/hex",
    "encoding/json",
    "errors",
    "flag",
    "fmt",
    "hash",
    "hash/adler32",
    "hash/crc32",
    "hash/crc64",
    "hash/fnv",
    "hash/maphash",
    "index/suffixarray",
    "io",
    "io/fs",
    "io/ioutil",
    "iter",
    "log",
    "maps",
    "math",
    "math/big",
    "math/bits",
    "math/cmplx",
    "math/rand",
    "math/rand/v2",
    "net",
    "os",
    "os/exec",
    "os/signal",
    "path",
    "path/filepath",
    "reflect",
    "regexp",
    "regexp/syntax",
    "runtime",
    "runtime/debug",
    "slices",
    "sort",
    "strconv",
    "strings",
    "structs",
    "sync",
    "sync/atomic",
    "syscall",
    "text/scanner",
    "text/tabwriter",
    "text/template",
    "time",
    "unicode",
    "unicode/utf16",
    "unicode/utf8",
    "unique",
    "unsafe",
    "weak",
]
# What the compiler and the linker say where a file of the library is gone; where a program names a package that never was
# there, no path is printed.
LOST = re.compile(r"could not import \S+ \(open /|cannot open file /|reading importcfg|open /\S+\.cfg: ")
# Compiling them takes 24 s of CPU time.
LONGEST_S = 900
# One thread at a time: a compilation is bounded by its CPU time.
ENVIRONMENT = ("TMPDIR=.", "GOMAXPROCS=1")


def find() -> Toolchain:
    """Starts nothing where the link leads to a whole Go. Raises LanguageUnavailable, with the way out."""
    go = shutil.which("go")
    if go is None:
        raise LanguageUnavailable(f"{NEEDED}, which is not installed; {HOW_TO_GET_IT}")
    root = Path(go).resolve().parent.parent
    if not _compiler(
        root, "compile"
    ).is_file():  # what is on the path may be a script that starts the real one
        root = Path(output_of(go, "env", "GOROOT", needed=NEEDED, remedy=HOW_TO_GET_IT).strip()).resolve()
    compiler, linker, command = _compiler(root, "compile"), _compiler(root, "link"), root / "bin" / "go"
    if not all(os.access(each, os.X_OK) for each in (compiler, linker, command)):
        raise LanguageUnavailable(
            f"{NEEDED} with its compiler and linker for {TARGET} in {root}; {HOW_TO_GET_IT}"
        )
    version = _version(root)
    library = Library(root, version)
    tools = {
        "compile": Tool(
            path=str(compiler),
            argv=(
                *("compile", "-p", "main", "-complete", "-pack", "-c", "1", "-buildid", "", "-o", OBJECT),
                *("-importcfg", str(library.folder / COMPILE_CONFIGURATION), SOURCE),
            ),
            environment=ENVIRONMENT,
            prints_diagnostics=True,
        ),
        "link": Tool(
            path=str(linker),
            argv=(
                *("link", "-s", "-w", "-buildmode", "exe", "-buildid", "", "-o", PROGRAM),
                *("-importcfg", str(library.folder / LINK_CONFIGURATION), OBJECT),
            ),
            makes=PROGRAM,
            environment=ENVIRONMENT,
        ),
    }
    read = {str(compiler), str(linker), str(library.folder), *system_files()}
    read |= readable.shared_libraries(compiler) | readable.shared_libraries(linker)
    return Toolchain(
        version=f"Go {version}",
        tools=tools,
        read=tuple(sorted(read)),
        prepare=library.make,
        folders=True,
        reserves=True,
    )


def _compiler(root: Path, name: str) -> Path:
    return (root / "pkg" / "tool" / TARGET / name).resolve()


def _version(root: Path) -> str:
    """As `1.22.1`."""
    try:
        first = (root / "VERSION").read_text(encoding="utf-8").split("\n", 1)[0]
    except OSError:
        first = ""
    match = re.match(r"go(\d+)\.(\d+)\S*", first)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        raise LanguageUnavailable(
            f"{NEEDED} 1.18 or newer, and {root} is {first or 'of no version'}; {HOW_TO_GET_IT}"
        )
    return match[0].removeprefix("go")


def _check(folder: Path) -> None:
    """Raises PermissionError: somebody else than this user and root can write to it."""
    status = folder.stat()
    if status.st_uid == os.geteuid():
        folder.chmod(0o755)  # whatever the umask: another user compiles
    elif status.st_uid != 0 or status.st_mode & 0o022:
        raise PermissionError(f"another user can write to {folder}")


class Library:
    """The compiled standard library of one Go. folder: there from the start, so that sandboxes can be made that see it."""

    def __init__(self, root: Path, version: str) -> None:
        """Raises LanguageUnavailable: there is no folder for it that only this user, or root, can write to."""
        self._root = root
        key = hashlib.sha256("\0".join((str(root), version, *PACKAGES)).encode()).hexdigest()[:16]
        remedy = "name a folder that only this user can write to in ALPHARAY_CACHE"
        try:
            self.folder = (cache_folder() / "go").absolute() / f"{version}-{key}"
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder = self.folder.resolve()
            for each in (self.folder.parent, self.folder):
                _check(each)
        except (OSError, RuntimeError) as error:
            raise LanguageUnavailable(
                f"Go needs a folder for its compiled library, and {cache_folder() / 'go'} is none: {error}; {remedy}"
            ) from None

    def make(self) -> None:
        """Compiles it, where that has not been done; concurrent calls wait. Raises LanguageUnavailable."""
        last = self.folder / LINK_CONFIGURATION
        if last.is_file():
            return
        building = self.folder.parent / f".{self.folder.name}"
        try:
            with (self.folder.parent / f"{building.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not last.is_file():
                    shutil.rmtree(building, ignore_errors=True)  # of one that was killed
                    building.mkdir(mode=0o700)
                    try:
                        self._lay(self._compiled(building))
                    finally:
                        shutil.rmtree(building, ignore_errors=True)
        except (OSError, subprocess.SubprocessError) as error:
            reason = error.stderr[-300:] if isinstance(error, subprocess.CalledProcessError) else error
            raise LanguageUnavailable(f"Go's library could not be compiled in {building}: {reason}") from None

    def _compiled(self, building: Path) -> dict[str, Path]:
        """By import path, the packages and all that they need."""
        go = str(self._root / "bin" / "go")
        settings = {
            "GOROOT": str(self._root),
            "HOME": str(building),
            "GOCACHE": str(building / "cache"),
            "GOPATH": str(building / "path"),
            "GOTMPDIR": str(building),
            "PATH": os.defpath,
            "GOENV": "off",
            "GOFLAGS": "",
            "GO111MODULE": "off",
            "GOTOOLCHAIN": "local",
            "GOPROXY": "off",
            "CGO_ENABLED": "0",
            "GOOS": "linux",
            "GOARCH": "amd64",
            "GOMAXPROCS": "1",
        }
        present = [name for name in PACKAGES if (self._root / "src" / name).is_dir()]
        form = "{{.ImportPath}}\t{{.Export}}"
        done = subprocess.run(
            [go, "list", "-p", "1", "-deps", "-export", "-f", form, *present],
            cwd=building,
            env=settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=True,
        )
        rows = (line.split("\t") for line in done.stdout.splitlines())
        return {name: Path(file) for name, file in rows if file}

    def _lay(self, packages: dict[str, Path]) -> None:
        """The archives, and which of them programs may import, and the linker reads: the last file says that all are there."""
        lines: dict[str, str] = {}
        for name, file in packages.items():
            archive = self.folder / f"{name.replace('/', '.')}.a"
            shutil.copyfile(file, archive)
            archive.chmod(0o644)
            lines[name] = f"packagefile {name}={archive}\n"
        public = {name: line for name, line in lines.items() if name in PACKAGES}
        for name, chosen in ((COMPILE_CONFIGURATION, public), (LINK_CONFIGURATION, lines)):
            written = self.folder / f"{name}.new"
            written.write_text("".join(chosen.values()), encoding="utf-8")
            written.chmod(0o644)
            written.replace(self.folder / name)
