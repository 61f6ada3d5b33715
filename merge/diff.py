"""`alpharay merge LOW HIGH --delta FILE`: writes the sparse delta between two checkpoints."""

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alpharay.merge.checkpoints.checkpoint import Checkpoint, Tensor, open_checkpoint
from alpharay.merge.checkpoints.compatible import check_compatible
from alpharay.merge.checkpoints.delta import BLOCK_ROW, MAGIC, UNSIGNED, encode
from alpharay.merge.checkpoints.fingerprint import combine_sha256
from alpharay.merge.checkpoints.inputs import Inputs
from alpharay.merge.compute.ordered import ordered
from alpharay.merge.dtypes import BITS
from alpharay.merge.errors import TargetExists
from alpharay.merge.rounding import BLOCK
from alpharay.merge.write.target import sync, write_error

# Blocks per piece of work.
BLOCKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenDelta:
    """A delta file. nbytes: its size; of: that of HIGH's weights. changed: weights that differ, of `total`."""

    path: Path
    nbytes: int
    of: int
    changed: int
    total: int


def write_delta(
    *, low: Path, high: Path, out: Path, threads: int = 2, allow_config: Sequence[str] = ()
) -> WrittenDelta:
    """Writes what turns the checkpoint `low` into `high`, bit for bit, to the file `out`.

    Raises CheckpointError, Mismatch (as a merge would), TargetError. The file appears whole or not at all.
    """
    first, other = open_checkpoint(low), open_checkpoint(high)
    check_compatible(first, other, any_dtype=False, allow_config=allow_config)
    if out.exists():
        raise TargetExists(f"{out} exists; remove it or give another --delta")
    partial = out.with_name(f".{out.name}.partial")
    try:
        changed = _write(first, other, partial, threads)
        sync(partial)
        partial.rename(out)
        sync(out.parent)
    except OSError as error:
        raise write_error(error, out) from error
    finally:
        partial.unlink(missing_ok=True)
    return WrittenDelta(
        path=out,
        nbytes=out.stat().st_size,
        of=sum(shard.nbytes for shard in other.shards),
        changed=changed,
        total=sum(tensor.size for tensor in first.tensors.values()),
    )


def _write(first: Checkpoint, other: Checkpoint, partial: Path, threads: int) -> int:
    tensors = [tensor for shard in first.shards for tensor in shard.tensors]
    rows: list[tuple[int, int, int, int]] = []
    changed = 0
    with Inputs([first, other]) as inputs, partial.open("wb") as file:
        file.write(MAGIC)

        def work(piece: tuple[Tensor, int]) -> tuple[list[tuple[bytes, int, int]], list[Any]]:
            return _encode(inputs, other, *piece)

        for blocks, read in ordered(work, _pieces(tensors), threads):
            for tensor, start, data in read:
                inputs.feed(tensor, start, data)
            for data, low_crc, high_crc in blocks:
                rows.append((file.tell(), len(data), low_crc, high_crc))
                file.write(data)
                changed += struct.unpack_from("<I", data)[0] if data else 0
        hashes = [
            combine_sha256((shard.path.name, inputs.sha256(shard)) for shard in side.shards)
            for side in (first, other)
        ]
        table = np.array(rows, BLOCK_ROW).tobytes()
        index = {
            "low": hashes[0],
            "high": hashes[1],
            "config": other.config,
            "tensors": {tensor.name: [tensor.dtype, tensor.shape] for tensor in tensors},
        }
        packed = zlib.compress(json.dumps(index).encode())
        file.write(table + packed + struct.pack("<QQ", len(table), len(packed)))
        file.flush()
        os.fsync(file.fileno())
    return changed


def _pieces(tensors: list[Tensor]) -> Iterator[tuple[Tensor, int]]:
    for tensor in tensors:
        for begin in range(0, tensor.size, BLOCKS * BLOCK):
            yield tensor, begin


def _encode(
    inputs: Inputs, other: Checkpoint, tensor: Tensor, begin: int
) -> tuple[list[tuple[bytes, int, int]], list[Any]]:
    itemsize = BITS[tensor.dtype] // 8
    size = min(BLOCKS * BLOCK, tensor.size - begin) * itemsize
    read = []
    for side in (tensor, other.tensors[tensor.name]):
        data = memoryview(bytearray(size))
        inputs.read(side, begin * itemsize, data)
        read.append((side, begin * itemsize, data))
    blocks = []
    for start in range(0, size, BLOCK * itemsize):
        low, high = (data[start : start + BLOCK * itemsize] for _, _, data in read)
        arrays = (np.frombuffer(side, UNSIGNED[itemsize]) for side in (low, high))
        blocks.append((encode(*arrays), zlib.crc32(low), zlib.crc32(high)))
    return blocks, read
