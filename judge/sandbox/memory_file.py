"""Memory files: how programs and inputs go into the sandbox and outputs come out, without pipes to feed."""

import errno
import fcntl
import os

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
MFD_EXEC = 0x10


def sealed(name: str, data: bytes) -> int:
    """A descriptor, at its start, of a file with this content that nobody can change any more."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _fill(descriptor, data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def executable(name: str, data: bytes) -> int:
    """As `sealed`, and it may be executed. OSError where this kernel is configured to forbid that."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create(name, flags | MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # kernels before 6.3 do not know the flag, and need none
            raise
        descriptor = os.memfd_create(name, flags)
    try:
        os.fchmod(descriptor, 0o555)
        _fill(descriptor, data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def empty(name: str) -> int:
    """A descriptor of an empty file to be written by a run."""
    return os.memfd_create(name, os.MFD_CLOEXEC)


def content(descriptor: int, limit: int) -> tuple[bytes, int]:
    """The first `limit` bytes of the file and its whole size."""
    size = os.fstat(descriptor).st_size
    return (os.pread(descriptor, min(size, limit), 0) if size else b""), size


def _fill(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
