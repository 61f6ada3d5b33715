"""The one folder of a sandbox that can be written to: compilers work there, and checkers find their files."""

import contextlib
import os
import stat
from collections.abc import Sequence

# Behind each file that a run wrote, its size: what is in it may be of any form.
SIZE_BYTES = 8


class Scratch:
    """Files of the run that is being made; cleaned after it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def fill(self, names: Sequence[str], descriptors: Sequence[int], empty: Sequence[str] = ()) -> None:
        """Copies each descriptor's file under its name. empty: files that the run may write to. Raises OSError."""
        for name, source in zip(names, descriptors, strict=True):
            self._make(name, 0o444, source)
        for name in empty:
            self._make(name, 0o666)

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

    def collect(self, name: str, destination: int, most: int) -> None:
        """Copies what the run made, if that is an ordinary file of at most so many bytes."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            source = os.open(f"{self.path}/{name}", flags)
        except OSError:
            return
        try:
            state, sent = os.fstat(source), 0
            while stat.S_ISREG(state.st_mode) and sent < state.st_size <= most:
                sent += os.sendfile(destination, source, None, state.st_size - sent)
        finally:
            os.close(source)

    def clean(self) -> None:
        """Leaves nothing of one run to the next."""
        for entry in os.scandir(self.path):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)  # noqa: PTH108 - pathlib would have to be loaded into the server
