"""Rollouts of a running server: a line each within about a second, a Parquet file every few minutes.

Each process has a journal of its own. It becomes a file of the journal's name when it is large or old enough, and at the
process's end; one that a kill left behind does at the next start. Made again, it is the same file.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import itertools
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq

from alpharay.serve.errors import StartFailed
from alpharay.serve.learn.rollouts.card import write_card
from alpharay.serve.learn.rollouts.fields import ROLLOUT_SCHEMA, Row, as_table
from alpharay.serve.learn.rollouts.outcome import replace_whole
from alpharay.serve.learn.rollouts.parts import batches
from alpharay.serve.state.metrics import Counts

log = logging.getLogger("ray.serve")

_EVERY_S = 1.0
_PUBLISH_S, _PUBLISH_BYTES = 300.0, 64 << 20
# Requests that may wait for a disk that is slow or full.
_MOST_WAITING = 500

_HOW = (
    "Candidates of requests that came with tests of their own, as they came: `messages` are what callers sent. "
    "`checkpoint` says which weights answered, `request` which candidates were of one answer."
)


def ready_rollouts(folder: Path, say: Callable[[str], None]) -> None:
    """Makes the folder and its card, and says what is kept there. Raises StartFailed."""
    try:
        for name in ("rollouts", "journals"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        write_card(folder, "`server.rollouts`", _HOW)
    except OSError as error:
        raise StartFailed(f"server.rollouts: {folder} cannot be written: {error.strerror}") from error
    say(f"prompts and answers of requests with tests are kept in {folder}")


class LiveRollouts:
    """Of one process. folder: as `ready_rollouts` has made it."""

    def __init__(self, folder: Path, counts: Counts) -> None:
        self._folder = folder
        self._counts = counts
        self._waiting: list[Callable[[], list[Row]]] = []
        self._journal: IO[bytes] | None = None
        self._since = 0.0
        self._down = False
        self._adopted = False

    def take(self, rows: Callable[[], list[Row]]) -> None:
        """rows: of a finished request; called later, in a thread. Returns at once."""
        if len(self._waiting) >= _MOST_WAITING:
            self._counts.rollouts.labels("dropped").inc()
            return
        self._waiting.append(rows)

    async def write_forever(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.write()

    async def write(self, *, publish: bool = False) -> None:
        """Brings what waits to the disk. publish: all of it into a file that others read."""
        try:
            await asyncio.to_thread(self._write, publish=publish)
        except OSError as error:
            if not self._down:
                log.warning("rollouts cannot be written, and wait: %s", error)
            self._down = True
        else:
            self._down = False

    async def close(self) -> None:
        await self.write(publish=True)

    def _write(self, *, publish: bool) -> None:
        if not self._adopted:
            for path in sorted(self._journals.glob("*.jsonl")):
                self._adopt(path)
            self._adopted = True
        while self._waiting:
            if self._journal is None:
                self._journal = _locked(self._journals / f"{uuid.uuid4().hex}.jsonl")
                self._since = time.monotonic()
            _append(self._journal, _lines(self._waiting[0]))
            self._waiting.pop(0)  # only now: what cannot be written waits
            self._counts.rollouts.labels("written").inc()
        if self._journal is None:
            return
        old = time.monotonic() - self._since > _PUBLISH_S
        if publish or old or os.fstat(self._journal.fileno()).st_size > _PUBLISH_BYTES:
            self._publish(Path(self._journal.name))
            self._journal.close()
            self._journal = None

    def _adopt(self, path: Path) -> None:
        """Publishes a journal whose process is gone."""
        with suppress(FileNotFoundError, BlockingIOError), _locked(path, new=False):
            self._publish(path)

    def _publish(self, journal: Path) -> None:
        rows = _rows(journal)
        first = next(rows, None)
        if first is not None:
            with (
                replace_whole(self._folder / "rollouts" / f"part-{journal.stem}.parquet") as part,
                pq.ParquetWriter(part, ROLLOUT_SCHEMA, compression="zstd") as file,
            ):
                for batch in batches(itertools.chain([first], rows)):
                    file.write_table(as_table(batch))
        journal.unlink()

    @property
    def _journals(self) -> Path:
        return self._folder / "journals"


def _locked(path: Path, *, new: bool = True) -> IO[bytes]:
    """Held by its process for as long as that lives. Raises BlockingIOError: another one's is alive."""
    file = path.open("xb" if new else "r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    return file


def _append(file: IO[bytes], lines: bytes) -> None:
    """All of them or none. Raises OSError."""
    before = os.fstat(file.fileno()).st_size
    if file.write(lines) < len(lines):
        file.truncate(before)
        file.seek(before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _lines(rows: Callable[[], Sequence[Row]]) -> bytes:
    try:
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows())
    except Exception:
        log.exception("a request's rollouts cannot be kept")
        return b""


def _rows(journal: Path) -> Iterator[Row]:
    """Every row that was written to its end."""
    with journal.open("rb") as lines:
        for line in lines:
            with suppress(ValueError):
                yield dict(json.loads(line))
