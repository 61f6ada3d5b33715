"""A checkpoint that differs from another by an update of its weights, written in float32.

In float32 nothing of the update is lost that a later merge to a narrower dtype could keep.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from alpharay.merge.checkpoints.checkpoint import INDEX, Checkpoint, Tensor
from alpharay.merge.checkpoints.companions import companion_bytes, companion_roots
from alpharay.merge.checkpoints.inputs import Inputs
from alpharay.merge.checkpoints.layout import plan_layout
from alpharay.merge.combine import widen
from alpharay.merge.dtypes import BITS, FLOATS, FP32
from alpharay.merge.errors import NonFinite, OverflowedOutput
from alpharay.merge.rounding import BLOCK, Float64, Rounder
from alpharay.merge.write.journal import clear
from alpharay.merge.write.target import check_space, partial_directory, publish, sync, write_file

# Gives what is added to elements [begin, end) of a tensor; None: nothing.
Update = Callable[[Tensor, int, int], Float64 | None]


def write_derived(base: Checkpoint, update: Update, out: Path, *, reason: str) -> Path:
    """Writes base + update to the checkpoint directory `out`, whole or not at all; returns `out`.

    reason: names the update where a sum is more than float32 can hold.

    Raises NonFinite, OverflowedOutput, TargetError.
    """
    layout = plan_layout(base, FP32)
    check_space(out, layout.nbytes)
    with partial_directory(out) as partial, Inputs([base]) as inputs:
        clear(partial)
        for file, root in companion_roots([base.path]).items():
            write_file(partial / file, companion_bytes(root, file, FP32))
        if layout.index:
            write_file(partial / INDEX, layout.index)
        for shard in layout.shards:
            path = partial / shard.name
            with path.open("wb") as written:
                written.write(shard.prefix)
                for tensor in shard.tensors:
                    for block in _blocks(inputs, tensor, update, reason):
                        written.write(block)
            sync(path)
        publish(partial, out)
    return out


def read_block(inputs: Inputs, tensor: Tensor, begin: int, end: int) -> Float64:
    """Elements [begin, end) of a float tensor. Raises NonFinite."""
    dtype = FLOATS[tensor.dtype]
    raw = _raw(inputs, tensor, begin, end)
    wide = np.empty(end - begin)
    widen(raw.view(dtype.storage), dtype, wide, np.empty(end - begin, np.float32))
    if not np.isfinite(wide).all():
        raise NonFinite(f"{tensor.name} in {tensor.file} is NaN or Inf; give an earlier checkpoint")
    return wide


def block_bounds(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """[begin, end) of each block that a tensor is read in."""
    for begin in range(0, tensor.size, BLOCK):
        yield begin, min(begin + BLOCK, tensor.size)


def _blocks(inputs: Inputs, tensor: Tensor, update: Update, reason: str) -> Iterator[bytes]:
    """The bytes to write for one tensor, block by block."""
    rounder = Rounder(FP32, "nearest")
    for begin, end in block_bounds(tensor):
        if not tensor.is_float:
            yield _raw(inputs, tensor, begin, end).tobytes()
            continue
        wide, out = read_block(inputs, tensor, begin, end), np.empty(end - begin, FP32.storage)
        change = update(tensor, begin, end)
        if change is not None:
            wide += change
        try:
            rounder.round(wide, out, None)
        except FloatingPointError:
            raise OverflowedOutput(f"{tensor.name} with {reason} is more than fp32 can hold") from None
        yield out.tobytes()


def _raw(inputs: Inputs, tensor: Tensor, begin: int, end: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    itemsize = BITS[tensor.dtype] // 8
    raw = np.empty((end - begin) * itemsize, np.uint8)
    inputs.read(tensor, begin * itemsize, raw.data)
    return raw
