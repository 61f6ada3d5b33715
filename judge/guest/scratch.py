"""The one folder of a sandbox that can be written to: compilers work there, and checkers find their files."""

import contextlib
import json
import os
import stat
from collections.abc import Sequence

# Behind each file that a run wrote, its size: what is in it may be of any form.
SIZE_BYTES = 8
MISSING = (1 << 64) - 1  # as a size: there is no such file
# Where the folder is a file system of the sandbox's own, which bounds what can be written. Elsewhere it is the machine's.
OWN = "/build"
MOST_FILES = 20_000
# Within the folder: what a runtime reads the candidate's program from, and nothing else is ever there.
PROGRAMS = "candidate"


class Scratch:
    """Files of the run that is being made; cleaned after it. programs: the folder for a candidate's program."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.programs = f"{path}/{PROGRAMS}"
        os.mkdir(self.programs, 0o755)  # noqa: PTH102 - pathlib would have to be loaded into the server
        os.chmod(self.programs, 0o755)  # noqa: PTH101, S103 - whatever our mask is

    def fill(self, names: Sequence[str], descriptors: Sequence[int], empty: Sequence[str] = ()) -> None:
        """Copies each descriptor's file under its name. empty: files that the run may write to. Raises OSError."""
        for name, source in zip(names, descriptors, strict=True):
            self._make(name, 0o444, source)
        for name in empty:
            self._make(name, 0o666)

    def show(self, name: str, descriptor: int) -> None:
        """Copies a file to where the candidate may read it. Raises OSError."""
        self._make(f"{PROGRAMS}/{name}", 0o444, descriptor)

    def gather(self, ending: str) -> None:
        """Renames the files that end so to 0.o, 1.o and so on, in the order of their names, and removes all others."""
        names = sorted(entry.name for entry in os.scandir(self.path) if entry.name.endswith(ending))
        for index, name in enumerate(names):
            os.rename(f"{self.path}/{name}", f"{self.path}/.{index}")  # noqa: PTH104
        kept = {f".{index}" for index in range(len(names))}
        self._remove(self.path, kept)
        for index in range(len(names)):
            os.rename(f"{self.path}/.{index}", f"{self.path}/{index}.o")  # noqa: PTH104

    def _make(self, name: str, mode: int, source: int | None = None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(f"{self.path}/{name}", flags, mode)
        try:
            os.fchmod(made, mode)
            size, sent = 0 if source is None else os.fstat(source).st_size, 0
            while source is not None and sent < size:
                sent += os.sendfile(made, source, sent, size - sent)
        finally:
            os.close(made)

    def unpack(self, source: int) -> None:
        """Makes a tree of files out of one that holds them all (`workspace.files.packed`), over what is there.

        A file that is in the way of a folder goes, and a folder that is in the way of a file. Raises OSError.
        """
        # A workspace is its server's last run, and shows its own files alone.
        with contextlib.suppress(OSError):
            os.rmdir(self.programs)  # noqa: PTH106
        head = int.from_bytes(os.pread(source, SIZE_BYTES, 0), "big")
        offset, own = SIZE_BYTES + head, self.path == OWN
        for name, size in json.loads(os.pread(source, head, SIZE_BYTES)):
            if size is None:
                with contextlib.suppress(OSError):
                    os.unlink(f"{self.path}/{name}")  # noqa: PTH108
                continue
            folder = self.path
            for part in name.split("/")[:-1]:
                folder = f"{folder}/{part}"
                if not os.path.isdir(folder):  # noqa: PTH112
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(folder)  # noqa: PTH108
                    os.mkdir(folder)  # noqa: PTH102
                    os.chmod(folder, 0o777 if own else 0o755)  # noqa: PTH101
            if os.path.isdir(f"{self.path}/{name}"):  # noqa: PTH112
                self._remove(f"{self.path}/{name}", set())
                os.rmdir(f"{self.path}/{name}")  # noqa: PTH106
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            made = os.open(f"{self.path}/{name}", flags, 0o644)
            try:
                end = offset + size
                while offset < end:
                    offset += os.sendfile(made, source, offset, end - offset)
                os.fchmod(made, 0o666 if own else 0o444)
            finally:
                os.close(made)

    def collect(self, name: str, destination: int, most: int) -> bool:
        """Copies what the run made, if that is an ordinary file of at most so many bytes. Returns whether there is one."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            source = os.open(f"{self.path}/{name}", flags)
        except OSError:
            return False
        try:
            state, sent = os.fstat(source), 0
            while stat.S_ISREG(state.st_mode) and sent < state.st_size <= most:
                sent += os.sendfile(destination, source, None, state.st_size - sent)
            return stat.S_ISREG(state.st_mode) and state.st_size <= most
        finally:
            os.close(source)

    def crowded(self) -> bool:
        """Whether a run has made more files than there may be: empty ones take none of the room that is bounded."""
        if self.path != OWN:
            return False
        state = os.statvfs(self.path)
        return state.f_files - state.f_ffree > MOST_FILES

    def clean(self) -> None:
        """Leaves nothing of one run to the next."""
        self._remove(self.path, set())

    def _remove(self, folder: str, kept: set[str]) -> None:
        """All that is in there but what is kept, and the folder for programs itself."""
        for entry in os.scandir(folder):
            if entry.name in kept:
                continue
            with contextlib.suppress(OSError):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)  # noqa: PTH108
                    continue
                self._remove(entry.path, set())
                if entry.path != self.programs:
                    os.rmdir(entry.path)  # noqa: PTH106
