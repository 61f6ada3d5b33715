"""From a source to a program: sandboxed runs, bounded diagnostics, and each source compiled once."""

import asyncio
import hashlib
import os
import re
import signal
import struct
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace

from alpharay.judge.errors import LanguageUnavailable, RunRefused
from alpharay.judge.guest.sandbox import NATIVE_ROOM, RESERVED
from alpharay.judge.limits import Limits
from alpharay.judge.sandbox import memory_file
from alpharay.judge.sandbox.order import Order, Runner
from alpharay.judge.sandbox.toolchains import go, installed
from alpharay.judge.sandbox.toolchains.cpp import NEWEST, STANDARDS
from alpharay.judge.sandbox.toolchains.rust import ALLOCATOR
from alpharay.judge.sandbox.toolchains.tools import FOLDER, MEMORY, PROGRAM, STACK, Caller, Toolchain
from alpharay.judge.verdict import VerdictKind
from alpharay.judge.verdicts import NEAR_MEMORY, Failure, JudgeFault

# What a compilation may take: CPU time for all its steps together, under both standards if need be, and the rest for each.
# Programs that win contests need a tenth of it.
COMPILER = Limits(cpu_s=10.0, memory_mb=1536, output_bytes=64 << 20)
# With less left it is not worth beginning another step.
LEAST_CPU_S = 0.01
SOURCE_BYTES = 1 << 20
DETAIL, STDERR = 1500, 1 << 16
# As compilers, assembler, linker and virtual machines say it, at the beginning of a line.
OUT_OF_MEMORY = re.compile(
    rb"^(?:\S+: )?(?:out of memory allocating|virtual memory exhausted|memory exhausted|final link failed: memory"
    rb"|memory allocation of \d+ bytes failed|The system is out of resources|java\.lang\.OutOfMemoryError"
    rb"|FATAL ERROR: .*heap out of memory|(?:fatal error: |runtime: )+(?:out of memory|cannot (?:allocate|map|reserve)))",
    re.MULTILINE,
)
# As Go's runtime says it, which needs a few.
NO_THREAD = re.compile(rb"runtime: (?:failed to create new OS thread|pthread_create failed)")
KEPT_BYTES = 128 << 20
# By the end of a block's label; older standards than gnu++17 are accepted by it.
OLDER, NOW = ("c++98", "c++03", "c++0x", "c++11", "c++1y", "c++14", "c++1z", "c++17"), ("c++2a", "c++20")
STANDARD_OF = dict.fromkeys(OLDER, "gnu++17") | dict.fromkeys(NOW, "gnu++20")
STANDARD_OF |= dict.fromkeys(("c++2b", "c++23"), NEWEST)
Files = tuple[tuple[str, bytes], ...]
# What compilers call standard input, and how their authors' diagnostics name it.
NAMED = {"cpp": {"<stdin>": "program.cpp"}, "rust": {"<anon>": "program.rs"}, "go": {go.NAMED: go.SOURCE}}
# Of a runtime's main thread: as deep as recursion of honest programs goes.
MOST_STACK_MB = 192


class Binary:
    """A compiled program in a memory file that nobody can change. static: bytes of memory that it takes untouched.

    language: whose runtime runs it, in a file of that name; empty: it is machine code.
    """

    def __init__(self, data: bytes, language: str = "", file: str = "") -> None:
        self.size = len(data)
        self.language = language
        self.file = file
        self.static = 0 if language else static_memory(data)
        try:
            self.descriptor = (
                memory_file.sealed("program", data) if language else memory_file.executable("program", data)
            )
        except OSError as error:
            reason = f"memory files may not be executed on this machine (vm.memfd_noexec): {error.strerror}"
            raise JudgeFault(reason) from None
        weakref.finalize(self, os.close, self.descriptor)

    @property
    def caller(self) -> Caller:
        """What calls a function of it. Raises JudgeFault."""
        caller = _toolchain(self.language).caller
        if caller is None:
            raise JudgeFault(f"functions in {self.language} cannot be called")
        return caller

    def followed_by(self, text: str) -> "Binary":
        data = os.pread(self.descriptor, self.size, 0)
        return Binary(data + text.encode(), self.language, self.file)

    def launch(self, limits: Limits, file: str = "") -> tuple[str, ...]:
        """The command line of its runtime under the problem's own limits; empty for machine code.

        file: beside it, to be run instead.
        """
        runtime = _toolchain(self.language).runtime if self.language else None
        if runtime is None:
            return ()
        stands = {
            PROGRAM: f"{FOLDER}/{file or self.file}",
            MEMORY: str(limits.memory_mb),
            STACK: str(max(8, min(MOST_STACK_MB, limits.memory_mb // runtime.stack_share))),
        }
        line = "\0".join(runtime.argv)
        for name, value in stands.items():
            line = line.replace(name, value)
        return tuple(line.split("\0"))


class Binaries:
    """Recently compiled programs and refusals, by what they were compiled from.

    most: bytes kept. compiler: what a compilation may take.
    """

    def __init__(self, most: int = KEPT_BYTES, compiler: Limits = COMPILER) -> None:
        self._most = most
        self._compiler = compiler
        self._kept: OrderedDict[tuple[str, str, bytes], Binary | Failure] = OrderedDict()
        self._parts: dict[tuple[str, ...], bytes] = {}

    async def get(
        self, runner: Runner, language: str, source: bytes, label: str = "", files: Files = ()
    ) -> Binary | Failure:
        """label: of the code block, which may name the standard. files: that the source may include.

        Raises JudgeFault, RunRefused and WorkerDied.
        """
        standard = STANDARD_OF.get(label, "") if language == "cpp" else ""
        key = (language, standard, hashlib.sha256(repr((source, files)).encode()).digest())
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if len(source) > SOURCE_BYTES:
            outcome: Binary | Failure = _refused(f"the program is longer than {SOURCE_BYTES >> 10} KiB")
        else:
            compilation = Compilation(runner, language, self._compiler, self._parts)
            outcome = await STEPS[language](compilation, source, standard, files)
        self._kept[key] = outcome
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._most:
            self._kept.popitem(last=False)
        return outcome


async def _cpp(compilation: "Compilation", source: bytes, standard: str, files: Files) -> Binary | Failure:
    """By the first standard that accepts it; else why the first did not."""
    first: Failure | None = None
    for each in (standard,) if standard else STANDARDS:
        assembly = await compilation.step(f"compile {each}", source, files)
        if isinstance(assembly, bytes):
            return await _assembled(compilation, assembly)
        first = first or assembly
        if compilation.over or "error:" not in assembly.detail:
            break  # it ran into a limit, and would again
    assert first is not None
    return first


async def _assembled(compilation: "Compilation", assembly: bytes) -> Binary | Failure:
    assembled = await compilation.step("assemble", assembly)
    if isinstance(assembled, Failure):
        return assembled
    image = await compilation.step("link", b"")
    return Binary(image) if isinstance(image, bytes) else image


async def _rust(compilation: "Compilation", source: bytes, _: str, files: Files) -> Binary | Failure:
    allocator = await compilation.once("allocator", "combine")
    compiled = await compilation.step("compile", source, files)
    if isinstance(compiled, Failure):
        return compiled
    image = await compilation.step("link", b"", ((ALLOCATOR, allocator),))
    return Binary(image) if isinstance(image, bytes) else image


async def _go(compilation: "Compilation", source: bytes, _: str, files: Files) -> Binary | Failure:
    await compilation.ready()
    compiled = await compilation.step("compile", b"", (*files, (go.SOURCE, go.HEAD + source)))
    if isinstance(compiled, Failure):
        return _of_library(compiled)
    image = await compilation.step("link", b"")
    return Binary(image) if isinstance(image, bytes) else _of_library(image)


def _of_library(failure: Failure) -> Failure:
    """Raises JudgeFault: it is not the program's, but that of a library which is no longer whole."""
    if go.LOST.search(failure.detail):
        raise JudgeFault("Go's compiled library is not whole; delete its folder and start the judge again")
    return failure


async def _java(compilation: "Compilation", source: bytes, _: str, files: Files) -> Binary | Failure:
    jar = await compilation.step("compile", source, files)
    return jar if isinstance(jar, Failure) else Binary(jar, "java", "program.jar")


async def _node(compilation: "Compilation", source: bytes, _: str, files: Files) -> Binary | Failure:
    """The step reports what kind of module the text is, by which its file must be named."""
    checked = await compilation.step("compile", source, files)
    if isinstance(checked, Failure):
        return checked
    kind, _break, text = checked.partition(b"\n")
    return Binary(text, compilation.language, "program.mjs" if kind == b"mjs" else "program.cjs")


STEPS: dict[str, Callable[["Compilation", bytes, str, Files], Awaitable[Binary | Failure]]] = {
    "cpp": _cpp,
    "rust": _rust,
    "go": _go,
    "java": _java,
    "javascript": _node,
    "typescript": _node,
}


class Compilation:
    """The steps of one compilation, which share its CPU time. over: there is nothing left of it."""

    def __init__(
        self, runner: Runner, language: str, limits: Limits, parts: dict[tuple[str, ...], bytes]
    ) -> None:
        """parts: what `once` has made."""
        self._parts = parts
        self.language = language
        self._toolchain = _toolchain(language)
        self._runner = runner
        self._limits = limits
        self._left = limits.cpu_s

    @property
    def over(self) -> bool:
        return self._left < LEAST_CPU_S

    async def ready(self) -> None:
        """Makes the files that its tools read, where they are missing; not counted as the program's CPU time. Raises JudgeFault."""
        if self._toolchain.prepare is not None:
            try:
                await asyncio.to_thread(self._toolchain.prepare)
            except LanguageUnavailable as error:
                raise JudgeFault(str(error)) from None

    async def once(self, *stages: str) -> bytes:
        """The output of stages without input, made once for all programs and not counted as a program's CPU time. Raises JudgeFault."""
        key = (self.language, *stages)
        if key not in self._parts:
            own = Compilation(self._runner, self.language, COMPILER, self._parts)
            last = b""
            for stage in stages:
                made = await own.step(stage, b"")
                if isinstance(made, Failure):
                    raise JudgeFault(f"{self.language}: the stage {stage} failed: {made.detail}")
                last = made
            self._parts[key] = last  # not before: others who compile meanwhile share it
        return self._parts[key]

    async def step(self, stage: str, stdin: bytes, files: Files = ()) -> bytes | Failure:
        tool = self._toolchain.tools[stage]
        limits = replace(self._limits, cpu_s=max(LEAST_CPU_S, self._left))
        order = Order(
            mode="tool",
            program=b"",
            input=stdin,
            limits=limits,
            entry=stage,
            last=bool(tool.makes) or len(self._toolchain.tools) == 1,
            files=(*files, *self._toolchain.helpers),
            language=self.language,
        )
        ended = await self._runner.run(order)
        self._left -= ended.cpu_s
        if "M" in ended.phase or "L" not in ended.phase or ended.ended == "cancel":
            reason = _text(ended.stderr, self.language)[-300:] or ended.ended
            raise JudgeFault(f"the compiler could not be started: {reason}")
        if NO_THREAD.match(ended.stderr[:STDERR]):
            raise RunRefused("the compiler got no thread, as on a machine that has no more")
        short = ended.cpu_s <= limits.cpu_s and ended.memory < NEAR_MEMORY * (limits.memory_mb << 20)
        diagnostics = ended.stdout[: 4 * DETAIL] + ended.stderr if tool.prints_diagnostics else ended.stderr
        if ended.ended == "exit" and ended.code == -signal.SIGKILL and short:
            raise RunRefused("the compiler was killed within its limits, as by a machine without memory")
        if (
            ended.code > 0 and not diagnostics.strip()
        ):  # a virtual machine that cannot start prints why to its output
            printed = _text(ended.stdout[:DETAIL], self.language)[:300]
            raise RunRefused(
                f"the compiler ended with {ended.code} without an error of the program's: {printed}"
            )
        made = ended.answers if tool.makes else ended.stdout
        if ended.ended == "memory" or (ended.code != 0 and OUT_OF_MEMORY.search(ended.stderr[:STDERR])):
            return _refused(f"the compiler ran out of memory, of which it may take {limits.memory_mb} MiB")
        if ended.ended in ("cpu", "wall") or ended.code in (-signal.SIGXCPU, -signal.SIGKILL):
            return _refused(f"the compiler took more than {self._limits.cpu_s:g} s or {limits.memory_mb} MiB")
        if ended.ended == "output" or ended.code == -signal.SIGXFSZ or max(ended.sizes) > limits.output_bytes:
            return _refused(f"the compiler made more than {limits.output_bytes >> 20} MiB")
        if ended.code != 0:
            return _refused(
                _text(diagnostics, self.language)[:DETAIL] or f"the compiler ended with {ended.code}"
            )
        if not made and (tool.prints or tool.makes):
            return _refused("the compiler made nothing")
        return made


def _bytes(kept: Binary | Failure) -> int:
    return kept.size if isinstance(kept, Binary) else 4096


def _text(stderr: bytes, language: str) -> str:
    """Diagnostics with the program under a name of its own."""
    text = stderr[: 4 * DETAIL].decode("utf-8", "replace")
    for name, file_name in NAMED.get(language, {}).items():
        text = text.replace(name, file_name)
    return text.strip()


def _toolchain(language: str) -> Toolchain:
    """Raises JudgeFault where it is gone since its trial."""
    try:
        return installed.find(language)
    except LanguageUnavailable as error:
        raise JudgeFault(str(error)) from None


def _refused(detail: str) -> Failure:
    return Failure(VerdictKind.COMPILE_ERROR, detail, of_case=False)


def address_space(limits: Limits) -> int:
    """Bytes that a compiled program may map, used or not."""
    return (limits.memory_mb << 20) + NATIVE_ROOM + RESERVED


def static_memory(image: bytes) -> int:
    """Bytes of address space that a 64-bit ELF file's segments take once loaded; 0 for anything else."""
    if image[:5] != b"\x7fELF\x02" or len(image) < 64:
        return 0
    start, size, count = struct.unpack_from("<Q", image, 32)[0], *struct.unpack_from("<HH", image, 54)
    total = 0
    for index in range(count):
        offset = start + index * size
        if offset + 56 > len(image):
            return 0
        kind = struct.unpack_from("<I", image, offset)[0]
        total += struct.unpack_from("<Q", image, offset + 40)[0] if kind == 1 else 0
    return int(total)
