"""Confines a freshly forked child, before a single line of the candidate is read."""

import ctypes
import mmap
import os
import resource
import signal
from dataclasses import dataclass, replace

from alpharay.judge.guest.landlock import Ruleset
from alpharay.judge.guest.seccomp import Filter, build, build_forked

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 1, 4, 8, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAPABILITY_VERSION_3 = 0x20080522
LIMITED = (
    resource.RLIMIT_CPU,
    resource.RLIMIT_AS,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_CORE,
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_STACK,
)
CAP_BITS = {"dac_read_search": 1 << 2, "dac_override": 1 << 1}
# More than honest programs need, few enough that a fork-less process cannot hurt with them.
MAX_DESCRIPTORS = 64
# Programs reserve address space that they never use (stacks of threads, large tables): resident memory is what the verdict
# is made of, and is watched; this only bounds what can be taken between two looks.
RESERVED = 4 << 30
NATIVE_ROOM = 64 << 20
# Virtual machines reserve more, for the code of each of their workers and the stacks of threads.
RUNTIME_RESERVED = 8 << 30


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """What one kind of child may open and call. base: bytes of address space beyond its memory limit.

    forked: what its own children are bound by beyond that, for the kind that forks. keep: the name of a capability that
    it keeps when it becomes another program, for one that lies under a directory closed to other users.
    """

    ruleset: Ruleset
    system_calls: Filter
    base: int
    forked: Filter | None = None
    keep: str | None = None

    def space(self, memory: int) -> int:
        return self.base + memory


def interpreter_policy(read: list[str], write: list[str], files_in: str = "") -> SandboxPolicy:
    """For Python programs, which share this process's image. files_in: of checkers, the folder of their files."""
    rules = Ruleset(read, write, files_in=files_in)
    return SandboxPolicy(rules, Filter(build()), _address_space() + RESERVED)


def workspace_policy(read: list[str], write: list[str], folder: str, *, own: bool) -> SandboxPolicy:
    """For Python programs in a folder of files. own: it is the sandbox's own, and files may be made there."""
    rules = Ruleset(read, write, work=folder, folders=True) if own else Ruleset(read, write, files_in=folder)
    return SandboxPolicy(rules, Filter(build(making=own)), _address_space() + RESERVED)


def unwatched(policy: SandboxPolicy) -> SandboxPolicy:
    """For test programs and interactors, whose memory is not watched."""
    return replace(policy, base=policy.base - RESERVED)


def forking_policy(interpreter: SandboxPolicy) -> SandboxPolicy:
    """For what compiles a Python program and then forks children that run it.

    It may fork; its children may not, and come to have the policy of any Python program.
    """
    may_fork = Filter(build(forking=True))
    return replace(interpreter, system_calls=may_fork, forked=Filter(build_forked()))


def binary_policy(devices: list[str], files_in: str = "") -> SandboxPolicy:
    """For compiled programs: no file at all but some devices, of which the first may be written to.

    files_in: of checkers, the folder of their files.
    """
    rules = Ruleset(devices[1:], devices[:1], files_in=files_in)
    return SandboxPolicy(rules, Filter(build(executing=True)), NATIVE_ROOM + RESERVED)


def runtime_policy(
    read: list[str], devices: list[str], execute: list[str], *, keep: str | None = None
) -> SandboxPolicy:
    """For programs that a runtime runs, which is all that may be executed. read: its library, and the program."""
    ruleset = Ruleset([*read, *devices[1:]], devices[:1], execute=execute)
    return SandboxPolicy(ruleset, Filter(build(executing=True)), NATIVE_ROOM + RUNTIME_RESERVED, keep=keep)


def tool_policy(
    read: list[str],
    execute: list[str],
    work: str,
    *,
    folders: bool = False,
    reserves: bool = False,
    keep: str | None = None,
) -> SandboxPolicy:
    """For the compiler's parts: headers and libraries, and one folder to write in.

    folders: they make folders there. reserves: much more address space than they use.
    """
    ruleset = Ruleset(read, [], execute=execute, work=work, folders=folders)
    base = NATIVE_ROOM + (RESERVED if reserves else 0)
    return SandboxPolicy(ruleset, Filter(build(executing=True, making=folders)), base, keep=keep)


class Sandbox:
    """What every child of this fork server is bound by.

    uid: the throw-away user that children become, or None to stay who we are (not root).
    keep: a capability that children keep to reach an interpreter under a directory closed to other users
    (a root's home); Landlock still decides what they may open.
    threads: RLIMIT_NPROC, which counts all that the user has anywhere.
    """

    def __init__(self, *, uid: int | None, keep: str | None, threads: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        # Looked up here, once, and not by each child.
        self._prctl, self._close_range, self._capset = libc.prctl, libc.close_range, libc.capset
        self._hard = {which: resource.getrlimit(which)[1] for which in LIMITED}
        self._uid = uid
        self._keep = keep
        self._threads = threads
        self._header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)

    def enter(
        self, policy: SandboxPolicy, descriptors: int, *, cpu_s: float, memory: int, output: int
    ) -> None:
        """Binds the calling process: limits, identity, files, system calls, in this order.

        descriptors: 0 to this number minus one stay open. cpu_s: where the kernel kills if the server cannot.
        memory: bytes beyond what the policy' own kind of program takes. output: bytes per written file.
        """
        # What forks for a neighbour's sake must not be refused because others of its user start threads.
        processes = self._hard[resource.RLIMIT_NPROC] if policy.forked else self._threads
        self._limit(cpu_s, policy.space(memory), memory, output, processes)
        self._become(policy.keep)
        self._call("prctl", self._prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        self._call("prctl", self._prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        # After the change of user, which clears it.
        self._call("prctl", self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        policy.ruleset.restrict()
        self._call("close_range", self._close_range(descriptors, 0x7FFFFFFF, 0))
        policy.system_calls.install()

    def enter_again(self, policy: SandboxPolicy, descriptors: int) -> None:
        """Binds a child of a process that is bound already by what a fork does not hand on."""
        self._call("prctl", self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        self._call("close_range", self._close_range(descriptors, 0x7FFFFFFF, 0))
        resource.setrlimit(resource.RLIMIT_NPROC, self._lowered(resource.RLIMIT_NPROC, self._threads))
        assert policy.forked is not None
        policy.forked.install()

    def _limit(self, cpu_s: float, space: int, memory: int, output: int, processes: int) -> None:
        seconds = int(cpu_s) + 2
        # Deep recursion of honest programs goes as deep as their memory; threads keep the usual 8 MiB,
        # which the C library read when this server started.
        stack = min(memory, 256 << 20)
        wanted = (seconds, space, output + 1, MAX_DESCRIPTORS, 0, 0, 0, processes, stack)
        for (which, hard), value in zip(self._hard.items(), wanted, strict=True):
            soft, lowered = self._lowered(which, value)
            resource.setrlimit(which, (soft, hard if which == resource.RLIMIT_STACK else lowered))

    def _lowered(self, which: int, value: int) -> tuple[int, int]:
        """Soft and hard limit: the value, as far as the server's own hard limit allows."""
        hard = self._hard[which]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        return value, value

    def _become(self, ambient: str | None) -> None:
        if self._uid is None:
            return
        keep = CAP_BITS[self._keep] if self._keep else 0
        passed = CAP_BITS[ambient] if ambient else 0
        if keep or passed:
            self._call("prctl", self._prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
        os.setgroups([])
        os.setresgid(self._uid, self._uid, self._uid)
        os.setresuid(self._uid, self._uid, self._uid)
        held = keep | passed
        self._call("capset", self._capset(self._header, (ctypes.c_uint32 * 6)(held, held, passed, 0, 0, 0)))
        if passed:
            number = passed.bit_length() - 1
            self._call("prctl", self._prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0))

    @staticmethod
    def _call(name: str, result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")


def _address_space() -> int:
    """Bytes of address space that the warm interpreter takes before a candidate runs.

    Found by halving the limit under which one more page can be had: there may be no /proc to read it from.
    """
    page = resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    low, high = 0, 1 << 40
    try:
        while high - low > page:
            middle = (low + high) // 2
            resource.setrlimit(resource.RLIMIT_AS, (middle, before[1]))
            try:
                mmap.mmap(-1, page).close()
                high = middle
            except OSError:
                low = middle
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    return high
