"""Confines a freshly forked child, before a single line of the candidate is read."""

import ctypes
import mmap
import os
import resource
import signal
import struct
from typing import Any, NamedTuple

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
NO_LIMIT = (1 << 64) - 1  # RLIM_INFINITY, which Python takes for -1
LIMITS = struct.Struct(f"{2 * len(LIMITED)}Q")
LIMIT = struct.Struct("2Q")  # struct rlimit: soft and hard
PROCESSES_AT = LIMITED.index(resource.RLIMIT_NPROC) * LIMIT.size
CAP_BITS = {"dac_read_search": 1 << 2, "dac_override": 1 << 1}
# More than honest programs need, few enough that a fork-less process cannot hurt with them.
MAX_DESCRIPTORS = 64
# Programs reserve address space that they never use (stacks of threads, large tables): resident memory is what the verdict
# is made of, and is watched; this only bounds what can be taken between two looks.
RESERVED = 4 << 30
NATIVE_ROOM = 64 << 20
# Virtual machines reserve more, for the code of each of their workers and the stacks of threads.
RUNTIME_RESERVED = 8 << 30


# Not dataclasses: what these import would be copied by each fork.
class SandboxPolicy(NamedTuple):
    """What one kind of child may open and call. base: bytes of address space beyond its memory limit.

    forks: its children are bound by `enter_again`. keep: the name of a capability that it keeps when it becomes another
    program, for one that lies under a directory closed to other users.
    """

    ruleset: Ruleset
    system_calls: Filter
    base: int
    forks: bool = False
    keep: str | None = None


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
    return policy._replace(base=policy.base - RESERVED)


def forking_policy(interpreter: SandboxPolicy) -> SandboxPolicy:
    """For what compiles a Python program and then forks children that run it.

    It may fork; its children may not, and come to have the policy of any Python program.
    """
    return interpreter._replace(system_calls=Filter(build(forking=True)), forks=True)


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


# A function of the C library, and what it is called with.
Call = tuple[str, Any, tuple[Any, ...]]


class Sandbox:
    """What every child of this fork server is bound by.

    uid: the throw-away user that children become, or None to stay who we are (not root).
    keep: a capability that children keep to reach an interpreter under a directory closed to other users
    (a root's home); Landlock still decides what they may open.
    threads: RLIMIT_NPROC, which counts all that the user has anywhere.

    The calls are put together here, once: a child that did so would copy each page that it finds an object in.
    """

    def __init__(
        self, policies: dict[str, SandboxPolicy], *, uid: int | None, keep: str | None, threads: int
    ) -> None:
        self._policies = policies
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._uid = uid
        self._keep = keep
        self._hard = {which: resource.getrlimit(which)[1] & NO_LIMIT for which in LIMITED}
        self._threads = min(threads, self._hard[resource.RLIMIT_NPROC])
        self._limits = bytearray(LIMITS.size)  # in the order of LIMITED
        self._descriptors = ctypes.c_uint()
        self._entering = {name: self._in_order(policy) for name, policy in policies.items()}
        self._forked = Filter(build_forked())
        self._entering_again = [
            self._dies_with_server(),
            self._closing(),
            self._limiting(resource.RLIMIT_NPROC),
            self._forked.call(),
        ]

    def enter(self, policy: str, descriptors: int, *, cpu_s: float, memory: int, output: int) -> None:
        """Binds the calling process: limits, identity, files, system calls, in this order.

        policy: its name. descriptors: 0 to this number minus one stay open. cpu_s: where the kernel kills if the server
        cannot. memory: bytes beyond what the policy's own kind of program takes. output: bytes per written file.
        """
        self._prepare(policy, descriptors, cpu_s, memory, output)
        _do(self._entering[policy])

    def enter_again(self, descriptors: int) -> None:
        """Binds a child of a process that is bound already, and may fork, by what a fork does not hand on."""
        self._descriptors.value = descriptors
        LIMIT.pack_into(self._limits, PROCESSES_AT, self._threads, self._threads)
        self._forked.name_own(os.getpid())
        _do(self._entering_again)

    def rehearse(self, policy: str, descriptors: int, *, cpu_s: float, memory: int, output: int) -> None:
        """Does as `enter`, but for the calls: a function that does nothing takes their place."""
        self._prepare(policy, descriptors, cpu_s, memory, output)
        nothing = self._libc.sched_yield
        _do([(name, nothing, arguments) for name, _, arguments in self._entering[policy]])

    def _prepare(self, name: str, descriptors: int, cpu_s: float, memory: int, output: int) -> None:
        policy, hard = self._policies[name], self._hard
        self._descriptors.value = descriptors
        seconds = min(int(cpu_s) + 2, hard[resource.RLIMIT_CPU])
        space = min(policy.base + memory, hard[resource.RLIMIT_AS])
        written = min(output + 1, hard[resource.RLIMIT_FSIZE])
        opened = min(MAX_DESCRIPTORS, hard[resource.RLIMIT_NOFILE])
        # What forks for a neighbour's sake must not be refused because others of its user start threads.
        processes = hard[resource.RLIMIT_NPROC] if policy.forks else self._threads
        # Deep recursion of honest programs goes as deep as their memory; threads keep the usual 8 MiB,
        # which the C library read when this server started.
        most = hard[resource.RLIMIT_STACK]
        stack = min(memory, 256 << 20, most)
        # In the order of LIMITED.
        LIMITS.pack_into(
            self._limits, 0, seconds, seconds, space, space, written, written, opened, opened,
            0, 0, 0, 0, 0, 0, processes, processes, stack, most,
        )  # fmt: skip
        policy.system_calls.name_own(os.getpid())

    def _in_order(self, policy: SandboxPolicy) -> list[Call]:
        prctl = self._libc.prctl
        return [
            *map(self._limiting, LIMITED),
            *self._becoming(policy.keep),
            ("prctl", prctl, (PR_SET_DUMPABLE, 0, 0, 0, 0)),
            ("prctl", prctl, (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)),
            self._dies_with_server(),  # after the change of user, which clears it
            policy.ruleset.call(),
            self._closing(),
            policy.system_calls.call(),
        ]

    def _limiting(self, which: int) -> Call:
        offset = LIMITED.index(which) * LIMIT.size
        limit = ctypes.c_char.from_buffer(self._limits, offset)
        return "setrlimit", self._libc.setrlimit, (which, ctypes.byref(limit))

    def _dies_with_server(self) -> Call:
        return "prctl", self._libc.prctl, (PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def _closing(self) -> Call:
        return "close_range", self._libc.close_range, (self._descriptors, 0x7FFFFFFF, 0)

    def _becoming(self, ambient: str | None) -> list[Call]:
        """ambient: the capability that is passed on to the program that it becomes."""
        if self._uid is None:
            return []
        libc, uid = self._libc, self._uid
        passed = CAP_BITS[ambient] if ambient else 0
        held = passed | (CAP_BITS[self._keep] if self._keep else 0)
        header = ctypes.byref((ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0))
        capabilities = ctypes.byref((ctypes.c_uint32 * 6)(held, held, passed, 0, 0, 0))
        number = passed.bit_length() - 1
        return [
            *([("prctl", libc.prctl, (PR_SET_KEEPCAPS, 1, 0, 0, 0))] if held else []),
            ("setgroups", libc.setgroups, (0, None)),
            ("setresgid", libc.setresgid, (uid, uid, uid)),
            ("setresuid", libc.setresuid, (uid, uid, uid)),
            ("capset", libc.capset, (header, capabilities)),
            *(
                [("prctl", libc.prctl, (PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0))]
                if passed
                else []
            ),
        ]


def _do(calls: list[Call]) -> None:
    for name, function, arguments in calls:
        if function(*arguments) != 0:
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
