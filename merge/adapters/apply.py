"""The checkpoint that a LoRA adapter makes of its base, written in float32.

In float32 nothing of the update is lost that a later merge to a narrower dtype could keep.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from alpharay.merge.adapters.adapter import Adapter, Factors, open_adapter
from alpharay.merge.checkpoints.checkpoint import INDEX, Checkpoint, Tensor, open_checkpoint
from alpharay.merge.checkpoints.companions import companion_bytes, companion_roots
from alpharay.merge.checkpoints.inputs import Inputs
from alpharay.merge.checkpoints.layout import plan_layout
from alpharay.merge.combine import widen
from alpharay.merge.dtypes import BITS, FLOATS, FP32
from alpharay.merge.errors import AdapterMismatch, NonFinite, OverflowedOutput
from alpharay.merge.rounding import BLOCK, Float64, Rounder
from alpharay.merge.write.journal import clear
from alpharay.merge.write.target import check_space, partial_directory, publish, sync, write_file

_PREFIX = "base_model.model."


def adapted_tensors(base: Checkpoint, adapter: Adapter) -> dict[str, Factors]:
    """By the name of each weight that the adapter changes, its factors.

    Raises AdapterMismatch: the base has no such weight, or it has another shape.
    """
    adapted = {}
    for module, factors in adapter.modules.items():
        name = module.removeprefix(_PREFIX) + ".weight"
        tensor = base.tensors.get(name)
        if tensor is None or not tensor.is_float:
            raise AdapterMismatch(
                f"{adapter.path} adapts {name}, which is no weight of {base.path}; "
                "name the base that it was trained on"
            )
        out, into = len(factors.b), factors.a[0].size
        shape = (into, out) if _transposed(adapter, factors) else (out, into)
        if (tensor.shape[0], tensor.size // tensor.shape[0]) != shape:
            raise AdapterMismatch(
                f"{name} is {list(tensor.shape)} in {base.path}, but {adapter.path} adapts a weight of {list(shape)}; "
                "name the base that it was trained on"
            )
        adapted[name] = factors
    return adapted


def apply_adapter(*, base: Path, adapter: Path, out: Path) -> Path:
    """Writes base + scaling * B @ A to the checkpoint directory `out`, whole or not at all; gives `out`.

    An `out` that is there already is taken to be this checkpoint: name it by the hashes of both. Raises MergeError.
    """
    if out.is_dir():
        return out
    checkpoint, opened = open_checkpoint(base), open_adapter(adapter)
    adapted = adapted_tensors(checkpoint, opened)
    layout = plan_layout(checkpoint, FP32)
    check_space(out, layout.nbytes)
    with partial_directory(out) as partial, Inputs([checkpoint]) as inputs:
        clear(partial)
        for file, root in companion_roots([base]).items():
            write_file(partial / file, companion_bytes(root, file, FP32))
        if layout.index:
            write_file(partial / INDEX, layout.index)
        for shard in layout.shards:
            path = partial / shard.name
            with path.open("wb") as written:
                written.write(shard.prefix)
                for tensor in shard.tensors:
                    for part in _blocks(inputs, tensor, opened, adapted):
                        written.write(part)
            sync(path)
        publish(partial, out)
    return out


def _blocks(
    inputs: Inputs, tensor: Tensor, adapter: Adapter, adapted: Mapping[str, Factors]
) -> Iterator[bytes]:
    """The bytes to write for one tensor, block by block."""
    factors = adapted.get(tensor.name)
    rounder = Rounder(FP32, "nearest")
    itemsize = BITS[tensor.dtype] // 8
    for begin in range(0, tensor.size, BLOCK):
        end = min(begin + BLOCK, tensor.size)
        raw = np.empty((end - begin) * itemsize, np.uint8)
        inputs.read(tensor, begin * itemsize, raw.data)
        if not tensor.is_float:
            yield raw.tobytes()
            continue
        wide, out = np.empty(end - begin), np.empty(end - begin, FP32.storage)
        dtype = FLOATS[tensor.dtype]
        widen(raw.view(dtype.storage), dtype, wide, np.empty(end - begin, np.float32))
        if not np.isfinite(wide).all():
            raise NonFinite(f"{tensor.name} in {tensor.file} is NaN or Inf; give an earlier checkpoint")
        if factors is not None:
            wide += _update(factors, tensor, begin, end, transposed=_transposed(adapter, factors))
        try:
            rounder.round(wide, out, None)
        except FloatingPointError:
            raise OverflowedOutput(f"{tensor.name} with {adapter.path} is more than fp32 can hold") from None
        yield out.tobytes()


def _update(factors: Factors, tensor: Tensor, begin: int, end: int, *, transposed: bool) -> Float64:
    """Elements [begin, end) of the weight's update."""
    b, a = factors.b.reshape(len(factors.b), -1), factors.a.reshape(len(factors.a), -1)
    left, right = (a.T, b.T) if transposed else (b, a)
    width = tensor.size // tensor.shape[0]
    first, last = begin // width, -(-end // width)
    rows = (factors.scaling * (left[first:last] @ right)).reshape(-1)
    return np.asarray(rows[begin - first * width : end - first * width])


def _transposed(adapter: Adapter, factors: Factors) -> bool:
    """Whether the weight is stored with its inputs first, as embeddings are, and layers with fan_in_fan_out."""
    return "lora_embedding_" in factors.a_name or bool(adapter.config.get("fan_in_fan_out"))
