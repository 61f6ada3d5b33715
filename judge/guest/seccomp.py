"""The system calls that a judged program may make, as a classic BPF filter.

Default deny. A refused call returns EPERM instead of killing, because honest code probes: `import zoneinfo`
looks for files, asyncio opens a socket pair. A call in a foreign ABI (i386, x32), which no honest program
makes, kills the process.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from typing import Any

from alpharay.judge.guest.zygote import CLONE, FORK_FLAGS

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
REFUSE = 0x00050000 | errno.EPERM
DONE = 0x00050000  # without an error, and without the call
# glibc and the interpreter fall back to older calls on ENOSYS, but not on EPERM.
UNKNOWN = 0x00050000 | errno.ENOSYS

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000
NEWEST_KNOWN = 450
FARTHEST = 255  # instructions that a conditional jump leaps

LOAD, JEQ, JGE, JSET, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06

# Of all that may be executed, the descriptor: what the server opened.
IMAGE = 4
EXECVEAT, AT_EMPTY_PATH = 322, 0x1000

# x86-64 numbers, by purpose.
PLAIN = {
    "data": [0, 1, 8, 17, 18, 19, 20, 295, 296, 327, 328],  # read write lseek pread64 … pwritev2
    "descriptors": [
        3,
        22,
        32,
        33,
        292,
        293,
        436,
        74,
        75,
        221,
    ],  # close pipe dup … close_range fsync fadvise64
    "files": [
        2,
        257,
        4,
        5,
        6,
        262,
        332,
        21,
        269,
        439,
        89,
        267,
        78,
        217,
        79,
        80,
        81,
        95,
    ],  # Landlock decides which
    "memory": [10, 11, 12, 25, 28],  # mprotect munmap brk mremap madvise
    "signals": [13, 14, 15, 127, 128, 130, 131, 34, 36, 37, 38],  # rt_sig* sigaltstack pause itimers alarm
    "threads": [202, 273, 274, 334, 218, 24, 204, 309, 186, 60, 231, 219],  # futex robust lists rseq … exit
    "time": [35, 96, 98, 100, 201, 228, 229, 230],  # sleeping and reading clocks
    "waiting": [7, 23, 270, 271, 213, 291, 232, 233, 281, 284, 290],  # poll select epoll eventfd
    "pairs": [45, 47, 48],  # recvfrom recvmsg shutdown, for the socket pair an asyncio loop wakes itself by
    "identity": [39, 110, 111, 121, 124, 102, 104, 107, 108, 115, 118, 120, 63, 99],  # get*id uname sysinfo
    "limits": [97, 160, 158, 318, 61, 247],  # get/setrlimit arch_prctl getrandom wait4 waitid (no children)
}
# In a folder where files may be made, which Landlock and a read-only view of all else keep a program to: mkdir rmdir
# rename unlink creat ftruncate and their kin. No links, no device files, no owners.
MAKING = [77, 82, 83, 84, 85, 87, 258, 263, 264, 316]
# chmod, utimensat and their kin do nothing there and say that they did, since copying a file ends with them. Landlock does not
# restrict them, and what a sandbox shares with the machine, such as /dev/null, may belong to the same user.
PRETENDED = [90, 91, 268, 280]
KILL, PRCTL, TGKILL, PRLIMIT64 = 62, 157, 234, 302
NOT_IMPLEMENTED = [435, 437]  # clone3 and openat2: their arguments are out of a filter's sight
MMAP, MAP_HUGETLB = 9, 0x40000

# What pthread_create passes in glibc and in musl, and what Go's runtime passes, bit by bit.
THREAD_FLAGS = [0x3D0F00, 0x7D0F00, 0xD0F00]
IOCTLS = [
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
]  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
FCNTLS = [
    0,
    1,
    2,
    3,
    4,
    1030,
    1034,
]  # not F_SETOWN/F_SETSIG (signals to others) nor F_SETPIPE_SZ (kernel memory)
PRCTLS = [15, 16]  # PR_SET_NAME PR_GET_NAME
SECCOMP, PR_SET_PDEATHSIG = 317, 1

Instruction = tuple[int, int, int, int]


INSTRUCTION = struct.Struct("HBBI")  # struct sock_filter: code, jump if true, if false, operand


class SockProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.c_void_p)]


# The process's own number, known only after the fork; `Filter.name_own` writes it in.
OWN_PID = 0xFFFFFFF1


def _argument(index: int, *, high: bool = False) -> Instruction:
    return (LOAD, 0, 0, 16 + 8 * index + (4 if high else 0))


def _one_of(index: int, values: list[int]) -> list[Instruction]:
    tests = [(JEQ, len(values) - number, 0, value) for number, value in enumerate(values)]
    return [_argument(index), *tests, (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]


def _exec_of_image() -> list[Instruction]:
    # One descriptor, closed by its own execution; Landlock lets nothing else be executed.
    return [
        _argument(0),
        (JEQ, 0, 3, IMAGE),
        _argument(4),
        (JEQ, 0, 1, AT_EMPTY_PATH),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]


def _stream_pair() -> list[Instruction]:
    # Only AF_UNIX streams: a datagram socket could send to any named or abstract address.
    return [
        _argument(0),
        (JEQ, 0, 3, 1),
        _argument(1),
        (AND, 0, 0, 0xF),
        (JEQ, 1, 0, 1),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]


def _without_address() -> list[Instruction]:
    return [
        _argument(4),
        (JEQ, 0, 2, 0),
        _argument(4, high=True),
        (JEQ, 1, 0, 0),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]


def _ordinary_pages() -> list[Instruction]:
    # Reserved huge pages are in no count of a process's memory.
    return [
        _argument(3),
        (JSET, 0, 1, MAP_HUGETLB),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]


CHECKED: dict[int, Callable[[], list[Instruction]]] = {
    MMAP: _ordinary_pages,
    16: lambda: _one_of(1, IOCTLS),
    72: lambda: _one_of(1, FCNTLS),
    PRCTL: lambda: _one_of(0, PRCTLS),
    CLONE: lambda: _one_of(0, THREAD_FLAGS),
    KILL: lambda: _one_of(0, [OWN_PID]),
    TGKILL: lambda: _one_of(0, [OWN_PID]),  # by which abort() works
    PRLIMIT64: lambda: _one_of(0, [0, OWN_PID]),
    53: _stream_pair,
    44: _without_address,  # sendto
}


# For what replaces the sandboxed child by a program of its own.
EXECUTING: dict[int, Callable[[], list[Instruction]]] = {EXECVEAT: _exec_of_image}


def _allowed() -> list[Instruction]:
    return [(RETURN, 0, 0, ALLOW)]


def _done() -> list[Instruction]:
    return [(RETURN, 0, 0, DONE)]


# For what forks children, and what each of these then needs to be bound as all others are: what is more here than in
# CHECKED, `build_forked` takes away again.
FORKING: dict[int, Callable[[], list[Instruction]]] = {
    CLONE: lambda: _one_of(0, [*THREAD_FLAGS, FORK_FLAGS]),
    KILL: _allowed,
    TGKILL: _allowed,
    PRLIMIT64: _allowed,
    PRCTL: lambda: _one_of(0, [*PRCTLS, PR_SET_PDEATHSIG]),
    SECCOMP: _allowed,
}


def _leaf(
    number: int, plain: set[int], checked: dict[int, Callable[[], list[Instruction]]]
) -> list[Instruction]:
    if number in checked:
        return checked[number]()
    if number in plain:
        return [(RETURN, 0, 0, ALLOW)]
    if number in NOT_IMPLEMENTED or number > NEWEST_KNOWN:
        return [(RETURN, 0, 0, UNKNOWN)]
    return [(RETURN, 0, 0, REFUSE)]


def _search(ranges: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """A binary search over (first number, what to do from there on).

    The kernel translates the filter anew for each child, so it is short: what ends alike ends at the same instruction.
    """
    emitted: list[Instruction] = []  # the last one first: all jumps go forward, and their targets are known
    endings: dict[Instruction, int] = {}

    def emit(part: list[tuple[int, list[Instruction]]]) -> int:
        """Returns how many instructions there are from its first one on."""
        if len(part) == 1:
            ((_, leaf),) = part
            if len(leaf) == 1 and leaf[0] in endings:
                return endings[leaf[0]]
            emitted.extend(reversed(leaf))
            if len(leaf) == 1:
                endings[leaf[0]] = len(emitted)
            return len(emitted)
        middle = len(part) // 2
        high, low = emit(part[middle:]), emit(part[:middle])
        if len(emitted) - min(high, low) > FARTHEST:
            raise ValueError("the filter is longer than its jumps reach")
        emitted.append((JGE, len(emitted) - high, len(emitted) - low, part[middle][0]))
        return len(emitted)

    if emit(ranges) != len(emitted):
        raise ValueError("the filter does not begin with its search")
    return emitted[::-1]


def build(*, executing: bool = False, forking: bool = False, making: bool = False) -> list[Instruction]:
    """The whole filter; OWN_PID stands where the process's own number belongs.

    executing: the descriptor IMAGE may be executed. forking: children may be made and bound by `build_forked`.
    making: files and folders may be made, where Landlock allows it.
    """
    checked = CHECKED | (EXECUTING if executing else {}) | (FORKING if forking else {})
    if making:
        checked |= dict.fromkeys(PRETENDED, _done)
    plain = {number for numbers in PLAIN.values() for number in numbers} | set(MAKING if making else ())
    ranges: list[tuple[int, list[Instruction]]] = []
    for number in range(NEWEST_KNOWN + 2):
        leaf = _leaf(number, plain, checked)
        if not ranges or ranges[-1][1] != leaf:
            ranges.append((number, leaf))
    return [
        (LOAD, 0, 0, 4),
        (JEQ, 1, 0, AUDIT_ARCH_X86_64),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, 0),
        (JGE, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL_PROCESS),
        *_search(ranges),
    ]


def build_forked() -> list[Instruction]:
    """What turns the filter of a forking process, which its children have by birth, into that of all others.

    Of two filters the stricter answer counts; foreign ABIs are killed by the first.
    """
    instructions: list[Instruction] = [(LOAD, 0, 0, 0)]
    for number in FORKING:
        leaf = CHECKED[number]() if number in CHECKED else [(RETURN, 0, 0, REFUSE)]
        instructions += [(JEQ, 0, len(leaf), number), *leaf]
    return [*instructions, (RETURN, 0, 0, ALLOW)]


class Filter:
    """A filter made once in the fork server and installed in each child by one call, after `name_own`."""

    def __init__(self, program: list[Instruction]) -> None:
        machine = os.uname().machine
        if machine != "x86_64":
            message = f"the system call filter knows x86_64 only, this machine is {machine}"
            raise OSError(errno.ENOSYS, message)
        self._own = [
            INSTRUCTION.size * (index + 1) - 4  # where its last field is
            for index, (code, _, _, k) in enumerate(program)
            if code == JEQ and k == OWN_PID
        ]
        self._instructions = bytearray(b"".join(INSTRUCTION.pack(*instruction) for instruction in program))
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._instructions))
        self._program = SockProgram(len(program), address)
        self._pointer = ctypes.byref(self._program)
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall

    def name_own(self, number: int) -> None:
        """Writes the process's own number where the program compares with it."""
        own = number.to_bytes(4, "little")
        for offset in self._own:
            self._instructions[offset : offset + 4] = own

    def call(self) -> tuple[str, Any, tuple[Any, ...]]:
        """The call that binds the calling thread (the only one there is, right after the fork) for good."""
        return "seccomp", self._syscall, (SECCOMP, 1, 0, self._pointer)
