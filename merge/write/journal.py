"""What a merge has finished so far, so that one that was killed resumes where it stopped.

One line of JSON per finished shard, in the temporary directory, written after the shard is on the disk.
The first line identifies the merge: if anything differs, also an input's modification time, the rest is
of no use and the merge starts over.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alpharay.merge.checkpoints.layout import Layout, OutputShard
from alpharay.merge.combine import Sums
from alpharay.merge.compute.plan import Plan
from alpharay.merge.write.manifest import FileRecord

NAME = "journal.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedShard:
    """One shard of every output. sha256[k] and sums[k][tensor] are of output k.

    inputs: the hashes of the input files that had been read to their end by then.
    """

    name: str
    sha256: tuple[str, ...]
    sums: tuple[dict[str, Sums], ...]
    inputs: dict[str, str]

    def record(self, k: int, shard: OutputShard) -> FileRecord:
        """The file of output k, for the manifest."""
        return FileRecord(name=shard.name, bytes=shard.nbytes, sha256=self.sha256[k])


class Journal:
    """The journal of one merge in its temporary directory."""

    def __init__(self, partial: Path, key: dict[str, Any]) -> None:
        self._path = partial / NAME
        self._key = json.loads(json.dumps(key))

    def resume(self) -> list[FinishedShard]:
        """The shards that a killed run of the same merge finished; else clears the directory."""
        finished = []
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        if lines and _parse(lines[0]) == self._key:
            for line in lines[1:]:
                content = _parse(line)
                if content is None:
                    break  # the run died while it wrote this line
                finished.append(_read(content))
        if not finished:
            clear(self._path.parent)
        self._rewrite(finished)
        return finished

    def add(self, shard: FinishedShard) -> None:
        """Records a shard whose files are on the disk."""
        with self._path.open("ab") as file:
            file.write(_line(asdict(shard)))
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Ends the journal: the manifest takes over."""
        self._path.unlink()

    def _rewrite(self, finished: Sequence[FinishedShard]) -> None:
        content = b"".join(_line(part) for part in (self._key, *map(asdict, finished)))
        self._path.write_bytes(content)


def journal_key(
    plan: Plan, layout: Layout, companions: Sequence[FileRecord], *, native: bool
) -> dict[str, Any]:
    """What must be the same for finished shards to be of use.

    native: the kernel. Both write the same bits, but their sums of errors differ in the last ones, and a manifest shall
    not depend on where a run was killed.
    """
    return {
        "format": 3,
        "native": native,
        "identity": plan.identity(),
        "inputs": [
            [str(shard.path), *shard.stat] for source in plan.sources for shard in source.checkpoint.shards
        ],
        "shards": [[shard.name, shard.nbytes] for shard in layout.shards],
        "companions": [asdict(record) for record in companions],
    }


def clear(directory: Path) -> None:
    """Empties a directory."""
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _read(content: dict[str, Any]) -> FinishedShard:
    return FinishedShard(
        name=content["name"],
        sha256=tuple(content["sha256"]),
        sums=tuple({name: _sums(part) for name, part in sums.items()} for sums in content["sums"]),
        inputs=content["inputs"],
    )


def _sums(content: dict[str, Any]) -> Sums:
    return Sums(
        error_along=tuple(content["error_along"]),
        gram=tuple(map(tuple, content["gram"])),
        error_error=content["error_error"],
    )
