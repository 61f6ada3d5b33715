"""What a batch's requests came to: a line each as soon as it is known, and at the end OpenAI's two files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# Of an entry: the request's answer, or what refused it. Where a budget is shared: a sample of it, and an answer that is better than all before.
OK, FAILED, DRAW, BEST = "ok", "failed", "draw", "best"


@dataclass(frozen=True, slots=True)
class Entry:
    """index: of the request among the batch's. tokens: of the prompt and the completion. text: JSON. offset: of the entry."""

    index: int
    kind: str
    tokens: tuple[int, int]
    text: bytes
    offset: int

    def value(self) -> Json:
        return dict(json.loads(self.text))


class Outcomes:
    """The entries of one batch, kept in its folder; those that a kill cut off are gone. Blocking. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "outcomes"
        self._path.touch(mode=0o600)
        whole = 0
        with self._path.open("rb") as file:
            for line in file:
                whole += len(line) if line.endswith(b"\n") else 0
        os.truncate(self._path, whole)
        self._file = self._path.open("ab", buffering=0)

    def __iter__(self) -> Iterator[Entry]:
        offset = 0
        with self._path.open("rb") as file:
            for line in file:
                yield _entry(line, offset)
                offset += len(line)

    def at(self, offset: int) -> Entry:
        with self._path.open("rb") as file:
            file.seek(offset)
            return _entry(file.readline(), offset)

    def add(self, index: int, kind: str, value: Json, tokens: tuple[int, int] = (0, 0)) -> int:
        """Outlives this process once it returns; the machine after the next `sync`. Returns the entry's offset."""
        offset = os.fstat(self._file.fileno()).st_size
        entry = f"{index} {kind} {tokens[0]} {tokens[1]} {json.dumps(value)}\n".encode()
        if self._file.write(entry) < len(entry):
            os.truncate(self._path, offset)  # the next one must not go on in the middle of it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        return offset

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _entry(line: bytes, offset: int) -> Entry:
    index, kind, prompt, completion, text = line.rstrip(b"\n").split(b" ", 4)
    return Entry(int(index), kind.decode(), (int(prompt), int(completion)), text, offset)
