"""From C++ to a program: three sandboxed runs, bounded diagnostics, and each source compiled once."""

import hashlib
import os
import re
import signal
import struct
import weakref
from collections import OrderedDict
from dataclasses import replace
from typing import Protocol

from alpharay.judge.guest.sandbox import NATIVE_ROOM, RESERVED
from alpharay.judge.limits import Limits
from alpharay.judge.sandbox import memory_file
from alpharay.judge.sandbox.toolchain import NEWEST, STANDARDS
from alpharay.judge.sandbox.worker import Ended, Order
from alpharay.judge.verdict import VerdictKind
from alpharay.judge.verdicts import Failure, JudgeFault

# What a compilation may take: CPU time for all its steps together, under both standards if need be, and the rest for each.
# Programs that win contests need a tenth of it.
COMPILER = Limits(cpu_s=10.0, memory_mb=1536, output_bytes=64 << 20)
# With less left it is not worth beginning another step.
LEAST_CPU_S = 0.01
SOURCE_BYTES = 1 << 20
DETAIL, STDERR = 1500, 1 << 16
# As the compiler, the assembler and the linker say it, at the beginning of a line.
OUT_OF_MEMORY = re.compile(
    rb"^(?:\S+: )?(?:out of memory allocating|virtual memory exhausted|memory exhausted|final link failed: memory)",
    re.MULTILINE,
)
KEPT_BYTES = 128 << 20
# By what a block's label ends in; the older ones are what the oldest of ours accepts.
OLDER, NOW = ("c++98", "c++03", "c++0x", "c++11", "c++1y", "c++14", "c++1z", "c++17"), ("c++2a", "c++20")
STANDARD_OF = dict.fromkeys(OLDER, "gnu++17") | dict.fromkeys(NOW, "gnu++20")
STANDARD_OF |= dict.fromkeys(("c++2b", "c++23"), NEWEST)
Files = tuple[tuple[str, bytes], ...]


class Runner(Protocol):
    """What runs one order: a worker."""

    async def run(self, order: Order) -> Ended: ...


class Binary:
    """A compiled program in a memory file that nobody can change. static: bytes of memory that it takes untouched."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.static = static_memory(data)
        try:
            self.descriptor = memory_file.executable("program", data)
        except OSError as error:
            reason = f"memory files may not be executed on this machine (vm.memfd_noexec): {error.strerror}"
            raise JudgeFault(reason) from None
        weakref.finalize(self, os.close, self.descriptor)


class Binaries:
    """Recently compiled programs and refusals, by what they were compiled from.

    most: bytes kept. compiler: what a compilation may take.
    """

    def __init__(self, most: int = KEPT_BYTES, compiler: Limits = COMPILER) -> None:
        self._most = most
        self._compiler = compiler
        self._kept: OrderedDict[tuple[str, bytes], Binary | Failure] = OrderedDict()

    async def get(self, runner: Runner, source: bytes, label: str, files: Files = ()) -> Binary | Failure:
        """label: of the code block, which may name the standard. files: that the source may include.

        Raises JudgeFault, RunRefused and WorkerDied.
        """
        key = (STANDARD_OF.get(label, ""), hashlib.sha256(repr((source, files)).encode()).digest())
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = await self._compile(runner, source, (key[0],) if key[0] else STANDARDS, files)
        self._kept[key] = found
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._most:
            self._kept.popitem(last=False)
        return found

    async def _compile(
        self, runner: Runner, source: bytes, standards: tuple[str, ...], files: Files
    ) -> Binary | Failure:
        """By the first standard that accepts it; else why the first did not."""
        if len(source) > SOURCE_BYTES:
            return _refused(f"the program is longer than {SOURCE_BYTES >> 10} KiB")
        compilation = _Compilation(runner, self._compiler)
        first: Failure | None = None
        for standard in standards:
            assembly = await compilation.step(f"compile {standard}", source, files)
            if isinstance(assembly, bytes):
                return await self._build(compilation, assembly)
            first = first or assembly
            if compilation.over or "error:" not in assembly.detail:
                break  # it ran into a limit, and would again
        assert first is not None
        return first

    async def _build(self, compilation: "_Compilation", assembly: bytes) -> Binary | Failure:
        assembled = await compilation.step("assemble", assembly)
        if isinstance(assembled, Failure):
            return assembled
        image = await compilation.step("link", b"")
        return Binary(image) if isinstance(image, bytes) else image


class _Compilation:
    """The steps of one compilation, which share its CPU time. over: there is nothing left of it."""

    def __init__(self, runner: Runner, limits: Limits) -> None:
        self._runner = runner
        self._limits = limits
        self._left = limits.cpu_s

    @property
    def over(self) -> bool:
        return self._left < LEAST_CPU_S

    async def step(self, stage: str, given: bytes, files: Files = ()) -> bytes | Failure:
        limits = replace(self._limits, cpu_s=max(LEAST_CPU_S, self._left))
        order = Order(
            mode="tool",
            program=b"",
            given=given,
            limits=limits,
            entry=stage,
            last=stage == "link",
            files=files,
        )
        ended = await self._runner.run(order)
        self._left -= ended.cpu_s
        if "F" in ended.phase or "L" not in ended.phase or ended.ended == "cancel":
            said = _text(ended.stderr)[-300:] or ended.ended
            raise JudgeFault(f"the compiler could not be started: {said}")
        made = ended.stdout if stage.startswith("compile") else ended.answers
        if ended.ended == "memory" or (ended.code != 0 and OUT_OF_MEMORY.search(ended.stderr[:STDERR])):
            return _refused(f"the compiler ran out of memory, of which it may take {limits.memory_mb} MiB")
        if ended.ended in ("cpu", "wall") or ended.code in (-signal.SIGXCPU, -signal.SIGKILL):
            return _refused(f"the compiler took more than {self._limits.cpu_s:g} s or {limits.memory_mb} MiB")
        if ended.ended == "output" or ended.code == -signal.SIGXFSZ or max(ended.sizes) > limits.output_bytes:
            return _refused(f"the compiler made more than {limits.output_bytes >> 20} MiB")
        if ended.code != 0:
            return _refused(_text(ended.stderr)[:DETAIL] or f"the compiler ended with {ended.code}")
        if not made and stage != "assemble":
            return _refused("the compiler made nothing")
        return made


def _bytes(kept: Binary | Failure) -> int:
    return kept.size if isinstance(kept, Binary) else 4096


def _text(stderr: bytes) -> str:
    """Diagnostics with the program under a name of its own."""
    return stderr[: 4 * DETAIL].decode("utf-8", "replace").replace("<stdin>", "program.cpp").strip()


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
    for place in range(count):
        offset = start + place * size
        if offset + 56 > len(image):
            return 0
        kind = struct.unpack_from("<I", image, offset)[0]
        total += struct.unpack_from("<Q", image, offset + 40)[0] if kind == 1 else 0
    return int(total)
