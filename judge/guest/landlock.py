"""Which files a judged program may open: the interpreter's and the system's libraries, to read, no others."""

import ctypes
import errno
import os
import stat
from typing import Any

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_FILE = (
    1 << 0,
    1 << 1,
    1 << 2,
    1 << 3,
    1 << 4,
    1 << 5,
    1 << 7,
    1 << 8,
)
REFER, REFER_SINCE = 1 << 13, 2  # moving from folder to folder
TRUNCATE, TRUNCATE_SINCE = 1 << 14, 3  # a right of its own from that ABI on


def version() -> int:
    """The kernel's Landlock ABI. OSError: there is none, or it is switched off."""
    libc = ctypes.CDLL(None, use_errno=True)
    abi: int = libc.syscall(CREATE_RULESET, None, 0, 1)
    if abi < 1:
        number = ctypes.get_errno()
        hint = (
            "off at boot" if number == errno.EOPNOTSUPP else "not in this kernel, or refused by the container"
        )
        raise OSError(number, f"Landlock is {hint}")
    return abi


def _handled(abi: int) -> tuple[int, int, int]:
    """Every file right, network right and scope that this ABI can take away."""
    files = (1 << 13) - 1
    for since, right in ((2, 1 << 13), (3, 1 << 14), (5, 1 << 15)):
        files |= right if abi >= since else 0
    return files, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0


class Ruleset:
    """Made once in the fork server; each child binds itself by one call."""

    def __init__(
        self,
        read: list[str],
        read_write: list[str],
        *,
        execute: list[str] | None = None,
        work: str = "",
        folders: bool = False,
        files_in: str = "",
    ) -> None:
        """What does not exist is left out.

        read: files and whole directories to read. read_write: single files. execute: programs that may be started.
        work: a directory in which files may be made, written, read and removed; with `folders`, folders too.
        files_in: one whose files may be read and written as far as their modes allow, and none made or removed.
        """
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        abi = version()
        files, network, scope = _handled(abi)
        attribute = (ctypes.c_uint64 * 3)(files, network, scope)
        size = 24 if abi >= 6 else 16 if abi >= 4 else 8
        self.descriptor: int = self._check(self._syscall(CREATE_RULESET, attribute, size, 0))
        for path in read:
            self._allow(path, READ_FILE | READ_DIR)
        for path in read_write:
            self._allow(path, READ_FILE | WRITE_FILE)
        for path in execute or []:
            self._allow(path, READ_FILE | EXECUTE)
        truncate = TRUNCATE if abi >= TRUNCATE_SINCE else 0
        if files_in:
            self._allow(files_in, READ_FILE | READ_DIR | WRITE_FILE | truncate)
        if work:
            own = MAKE_DIR | REMOVE_DIR | (REFER if abi >= REFER_SINCE else 0) if folders else 0
            self._allow(work, READ_FILE | READ_DIR | WRITE_FILE | MAKE_FILE | REMOVE_FILE | truncate | own)

    def _allow(self, path: str, rights: int) -> None:
        try:
            target = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if not stat.S_ISDIR(os.fstat(target).st_mode):
                rights &= ~READ_DIR
            # struct landlock_path_beneath_attr is packed: a 64-bit set of rights, then the descriptor.
            rule = rights.to_bytes(8, "little") + target.to_bytes(4, "little")
            self._check(self._syscall(ADD_RULE, self.descriptor, PATH_BENEATH, rule, 0))
        finally:
            os.close(target)

    def call(self) -> tuple[str, Any, tuple[Any, ...]]:
        """The call that binds the calling process for good."""
        return "Landlock", self._syscall, (RESTRICT_SELF, self.descriptor, 0)

    @staticmethod
    def _check(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"Landlock: {os.strerror(number)}")
        return result
