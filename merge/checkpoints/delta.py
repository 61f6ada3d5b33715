"""Sparse deltas: what turns one checkpoint into another, bit for bit, in a file of a few per cent.

Reinforcement learning in bfloat16 leaves most weights as they were and moves the rest by a unit or two in
the last place. The file holds the positions that changed and the difference of the two bit patterns, which
with either value gives the other, per block of every tensor, compressed; and a check sum of both sides
of every block, so that a delta on the wrong checkpoint is refused rather than applied.

Layout: MAGIC; the blocks; the table (one row of BLOCK_ROW per block of every tensor, in order); the index
(JSON, zlib); the lengths of table and index (two uint64, little-endian).
"""

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpharay.merge.checkpoints.checkpoint import Checkpoint, Shard, Tensor, stamp
from alpharay.merge.dtypes import BITS
from alpharay.merge.errors import BadDelta, DeltaMismatch
from alpharay.merge.rounding import BLOCK

MAGIC = b"alpharay delta 1\n"
BLOCK_ROW = np.dtype([("start", "<u8"), ("nbytes", "<u4"), ("low_crc", "<u4"), ("high_crc", "<u4")])
UNSIGNED: dict[int, np.dtype[Any]] = {
    1: np.dtype("u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """An open delta file. `checkpoint` describes the tensors that it leads to; rows[first[name]] is the
    table's row of the first block of a tensor.
    """

    checkpoint: Checkpoint
    rows: NDArray[np.void]
    first: dict[str, int]

    def apply(self, tensor: Tensor, begin: int, low: memoryview, into: memoryview, data: bytes) -> None:
        """Fills `into` with the other side of `low`, elements of `tensor` from `begin` on.

        begin: a multiple of BLOCK. data: the bytes of the blocks concerned, see `extent`.
        Raises DeltaMismatch when `low` is not what the delta was made from, BadDelta when it is damaged.
        """
        itemsize = BITS[tensor.dtype] // 8
        into[:] = low
        row = self.first[tensor.name] + begin // BLOCK
        origin = int(self.rows[row]["start"]) if len(self.rows) > row else 0
        for start in range(0, len(low), BLOCK * itemsize):
            here = slice(start, start + BLOCK * itemsize)
            part = self.rows[row]
            row += 1
            if zlib.crc32(low[here]) != part["low_crc"]:
                raise DeltaMismatch(
                    f"{self.checkpoint.path} was made from other weights than those of {tensor.name} given here; "
                    "give the checkpoint that it was made from as LOW"
                )
            offset = int(part["start"]) - origin
            try:
                decode(
                    data[offset : offset + int(part["nbytes"])], np.frombuffer(into[here], UNSIGNED[itemsize])
                )
            except (zlib.error, ValueError, IndexError):
                raise self._damaged(tensor) from None
            if zlib.crc32(into[here]) != part["high_crc"]:
                raise self._damaged(tensor)

    def extent(self, tensor: Tensor, begin: int, end: int) -> tuple[int, int]:
        """Start and length in the file of the blocks of elements [begin, end) of `tensor`."""
        first = self.first[tensor.name]
        rows = self.rows[first + begin // BLOCK : first + -(-end // BLOCK)]
        start = int(rows[0]["start"])
        return start, int(rows[-1]["start"]) + int(rows[-1]["nbytes"]) - start

    def _damaged(self, tensor: Tensor) -> BadDelta:
        return BadDelta(f"{self.checkpoint.path} is damaged at {tensor.name}; make or download it again")


def encode(low: NDArray[Any], high: NDArray[Any]) -> bytes:
    """What changed between two blocks of equal unsigned integers; empty where nothing did."""
    changed = np.flatnonzero(low != high)
    if not changed.size:
        return b""
    gaps = np.diff(changed, prepend=-1).astype("<u2") - 1
    signed = (high[changed] - low[changed]).view(f"i{low.itemsize}")
    # Small steps of either sign become small numbers, whose upper bytes are all zero.
    steps = ((signed << 1) ^ (signed >> (low.itemsize * 8 - 1))).view(low.dtype)
    return struct.pack("<I", changed.size) + zlib.compress(_planes(gaps) + _planes(steps), 6)


def decode(data: bytes, block: NDArray[Any]) -> None:
    """Turns `block`, equal to what was `low` in encode, into `high`, in place. Raises ValueError, zlib.error."""
    if not data:
        return
    (count,) = struct.unpack_from("<I", data)
    raw = np.frombuffer(zlib.decompress(data[4:]), np.uint8)
    if raw.size != count * (2 + block.itemsize):
        raise ValueError("wrong length")
    gaps = _numbers(raw[: 2 * count], np.dtype("<u2"))
    steps = _numbers(raw[2 * count :], block.dtype)
    positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
    signed = (steps >> 1).view(f"i{block.itemsize}") ^ -(steps & 1).view(f"i{block.itemsize}")
    block[positions] += signed.view(block.dtype)


def is_delta(path: Path) -> bool:
    """Whether `path` is a delta file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_delta(path: Path) -> Delta:
    """Reads the index of a delta file. Raises BadDelta."""
    stat = stamp(path)
    damaged = BadDelta(f"{path} is truncated or damaged; make or download it again")
    try:
        with path.open("rb") as file:
            file.seek(-16, 2)
            table, index = struct.unpack("<QQ", file.read(16))
            if len(MAGIC) + table + index + 16 > stat[0] or table % BLOCK_ROW.itemsize:
                raise damaged
            file.seek(-16 - table - index, 2)
            rows = np.frombuffer(file.read(table), BLOCK_ROW)
            content = json.loads(zlib.decompress(file.read(index)))
        return _describe(path, stat, rows, content)
    except (OSError, ValueError, KeyError, TypeError, zlib.error, struct.error):
        raise damaged from None


def _describe(path: Path, stat: tuple[int, int], rows: NDArray[np.void], content: dict[str, Any]) -> Delta:
    tensors, first, row = {}, {}, 0
    for name, (dtype, shape) in content["tensors"].items():
        tensor = Tensor(name=name, dtype=dtype, shape=tuple(shape), file=path, start=0, nbytes=0)
        tensors[name], first[name] = tensor, row
        row += -(-tensor.size // BLOCK)
    if row != len(rows):
        raise ValueError("the table has another number of blocks")
    shard = Shard(path=path, header=b"", metadata={}, tensors=(), stat=stat)
    checkpoint = Checkpoint(path=path, shards=(shard,), tensors=tensors, config=content["config"])
    return Delta(checkpoint=checkpoint, rows=rows, first=first)


def _planes(values: NDArray[Any]) -> bytes:
    """All lowest bytes, then all second ones: equal bytes stand together and compress."""
    return values.view(np.uint8).reshape(-1, values.itemsize).T.tobytes()


def _numbers(raw: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(raw.reshape(dtype.itemsize, -1).T).view(dtype).reshape(-1)
