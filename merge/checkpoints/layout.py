"""Which output file holds which tensor, with headers known before the first weight is read."""

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from alpharay.merge.checkpoints.checkpoint import INDEX, SINGLE, Checkpoint, Tensor
from alpharay.merge.dtypes import BITS, FLOATS, Dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputShard:
    """One file of every output. `prefix` is everything before the first tensor: length and header."""

    name: str
    prefix: bytes
    tensors: tuple[Tensor, ...]
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of one output; all outputs of a merge share it. `index` is the index file, if any."""

    shards: tuple[OutputShard, ...]
    index: bytes | None

    @property
    def nbytes(self) -> int:
        """Bytes of weights that one output takes."""
        return sum(shard.nbytes for shard in self.shards)


def output_code(tensor: Tensor, dtype: Dtype | None) -> str:
    """The dtype code under which `tensor` is written."""
    return dtype.code if dtype and tensor.is_float else tensor.dtype


def plan_layout(like: Checkpoint, dtype: Dtype | None, shard_bytes: int | None = None) -> Layout:
    """The files of an output that has the tensors of `like`.

    dtype: None keeps every tensor's own. shard_bytes: None keeps the files of `like`; else files are
    filled in the order of `like` up to this many bytes of tensors each.

    Where nothing changes the headers of `like` are kept byte for byte, so that alpha 0 is the same file.
    """
    unchanged = all(output_code(tensor, dtype) == tensor.dtype for tensor in like.tensors.values())
    if shard_bytes is None and unchanged:
        shards = tuple(_shard(shard.path.name, shard.header, shard.tensors, dtype) for shard in like.shards)
        index = like.path / INDEX
        return Layout(shards=shards, index=index.read_bytes() if index.exists() else None)
    if shard_bytes is None:
        groups = [(shard.path.name, shard.tensors) for shard in like.shards]
    else:
        tensors = (tensor for shard in like.shards for tensor in shard.tensors)
        filled = list(_fill(tensors, dtype, shard_bytes))
        names = [f"model-{i:05d}-of-{len(filled):05d}.safetensors" for i in range(1, len(filled) + 1)]
        groups = list(zip([SINGLE] if len(filled) == 1 else names, filled, strict=True))
    metadata = like.shards[0].metadata or {"format": "pt"}
    shards = tuple(
        _shard(name, _header(tensors, dtype, metadata), tensors, dtype) for name, tensors in groups
    )
    if [shard.name for shard in shards] == [SINGLE]:
        return Layout(shards=shards, index=None)
    return Layout(shards=shards, index=_index(shards, dtype))


def output_bytes(tensor: Tensor, dtype: Dtype | None) -> int:
    """Bytes that `tensor` takes in an output."""
    return tensor.size * BITS[output_code(tensor, dtype)] // 8


def output_dtype(tensor: Tensor, dtype: Dtype | None) -> Dtype:
    """The float format under which a float tensor is written."""
    return FLOATS[output_code(tensor, dtype)]


def _fill(tensors: Iterable[Tensor], dtype: Dtype | None, shard_bytes: int) -> Iterable[tuple[Tensor, ...]]:
    current: list[Tensor] = []
    taken = 0
    for tensor in tensors:
        nbytes = output_bytes(tensor, dtype)
        if current and taken + nbytes > shard_bytes:
            yield tuple(current)
            current, taken = [], 0
        current.append(tensor)
        taken += nbytes
    yield tuple(current)


def _shard(name: str, header: bytes, tensors: tuple[Tensor, ...], dtype: Dtype | None) -> OutputShard:
    prefix = struct.pack("<Q", len(header)) + header
    nbytes = len(prefix) + sum(output_bytes(tensor, dtype) for tensor in tensors)
    return OutputShard(name=name, prefix=prefix, tensors=tensors, nbytes=nbytes)


def _header(tensors: tuple[Tensor, ...], dtype: Dtype | None, metadata: dict[str, str]) -> bytes:
    content: dict[str, object] = {"__metadata__": metadata}
    position = 0
    for tensor in tensors:
        end = position + output_bytes(tensor, dtype)
        content[tensor.name] = {
            "dtype": output_code(tensor, dtype),
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    header = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    # The first tensor starts at a multiple of 8 bytes; spaces are the format's padding.
    return header + b" " * (-len(header) % 8)


def _index(shards: tuple[OutputShard, ...], dtype: Dtype | None) -> bytes:
    total = sum(output_bytes(tensor, dtype) for shard in shards for tensor in shard.tensors)
    weight_map = {tensor.name: shard.name for shard in shards for tensor in shard.tensors}
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return (json.dumps(content, indent=2) + "\n").encode()
