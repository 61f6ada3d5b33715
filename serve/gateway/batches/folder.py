"""Where the bytes of files and batches lie.

    files/ID            an uploaded file, or what a batch has written
    incoming/           uploads that have not ended
    batches/ID/         of a batch that has not ended: its input, and what its requests came to

A batch is run by the process that holds the lock of its folder: it is let go whenever that process ends, however it ends.
All HTTP processes are on one node, or share the folder with its locks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

# Nothing takes so long.
_HALF_DONE_S = 86400.0


class Lock:
    """Of one batch, held until `release`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def release(self) -> None:
        self._file.close()


class Folder:
    """Blocking. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        for name in ("files", "incoming", "batches"):
            (path / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def file(self, name: str) -> Path:
        """name: an id that the store knows."""
        return self._path / "files" / name

    def batch(self, name: str) -> Path:
        return self._path / "batches" / name

    def keep(self, name: str, content: BinaryIO) -> None:
        """Writes a file that is there as a whole, or not at all."""
        with tempfile.NamedTemporaryFile(dir=self._path / "incoming", delete=False) as part:
            try:
                shutil.copyfileobj(content, part, 1 << 20)
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).replace(self.file(name))
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise

    def delete(self, name: str) -> None:
        self.file(name).unlink(missing_ok=True)

    def begin(self, batch: str, file: str) -> None:
        """Makes the batch's folder, with its input: it goes on when the file is deleted."""
        folder = self.batch(batch)
        folder.mkdir(mode=0o700)
        (folder / "input.jsonl").hardlink_to(self.file(file))

    def end(self, batch: str) -> None:
        shutil.rmtree(self.batch(batch), ignore_errors=True)

    def claim(self, batch: str) -> Lock | None:
        """None: another process runs it, or has ended it."""
        with suppress(FileNotFoundError):
            file = (self.batch(batch) / "lock").open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return None
            return Lock(file)
        return None

    def sweep(self, known: Collection[str]) -> None:
        """Deletes what the end of a process left half done: uploads, and batches that are not among the known ones."""
        for path in (*(self._path / "incoming").iterdir(), *(self._path / "batches").iterdir()):
            with suppress(FileNotFoundError):
                if path.name in known or path.stat().st_mtime > time.time() - _HALF_DONE_S:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
