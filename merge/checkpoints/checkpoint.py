"""A checkpoint on disk: which tensors lie where in which file, and that the headers are correct.

Only headers are read here. Offsets are trusted only after they were checked against the file, so
nothing later can read outside a tensor or average the wrong bytes.
"""

import json
import math
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpharay.merge.dtypes import BITS, FLOATS, QUANTISED
from alpharay.merge.errors import (
    BadHeader,
    CheckpointError,
    NotACheckpoint,
    PickleCheckpoint,
    QuantisedCheckpoint,
    TruncatedFile,
)

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# The reference implementation refuses longer headers too.
MAX_HEADER = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Where one tensor lies: `start` and `nbytes` count bytes from the beginning of `file`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    nbytes: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether an average of this tensor means anything."""
        return self.dtype in FLOATS


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One safetensors file. `header` is the raw JSON with its padding; `tensors` in file order."""

    path: Path
    header: bytes
    metadata: dict[str, str]
    tensors: tuple[Tensor, ...]
    stat: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return self.stat[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A directory of safetensors weights. `shards` are sorted by file name."""

    path: Path
    shards: tuple[Shard, ...]
    tensors: dict[str, Tensor]
    config: dict[str, Any] | None


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in ns: changed means that the file changed."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def weight_files(path: Path) -> tuple[Path, ...]:
    """The safetensors files that make up the checkpoint in `path`, sorted by name.

    Raises NotACheckpoint, PickleCheckpoint, BadHeader (an index that names no file).
    """
    if not path.exists():
        raise NotACheckpoint(f"{path} does not exist; give the directory of a checkpoint")
    if not path.is_dir():
        raise NotACheckpoint(f"{path} is not a directory; give the directory that holds {SINGLE}")
    single, index = path / SINGLE, path / INDEX
    if single.exists() and index.exists():
        raise BadHeader(
            f"{path} has both {SINGLE} and {INDEX}, and readers disagree which one counts; "
            "remove the one that is left over"
        )
    if index.exists():
        return tuple(sorted({path / name for name in read_weight_map(index).values()}))
    if single.exists():
        return (single,)
    raise _no_weights(path)


def read_weight_map(index: Path) -> dict[str, str]:
    """Tensor name -> file name, from an index file."""
    content = read_json(index)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadHeader(f"{index} has no weight_map; save the checkpoint again")
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise BadHeader(
                f"{index} places {name} in {file!r}, which is not a safetensors file beside it; save it again"
            )
    return weight_map


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError naming the file."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}); save or download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object; save or download it again")
    return content


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads every header in `path` and checks it against its file and the index.

    Raises CheckpointError (see errors.py): never returns tensors that are not wholly there.
    """
    path = Path(path)
    files = weight_files(path)
    config = read_json(path / CONFIG) if (path / CONFIG).exists() else None
    _refuse_quantised(path, config)
    shards = tuple(read_shard(file) for file in files)
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        for tensor in shard.tensors:
            if tensor.name in tensors:
                raise BadHeader(
                    f"{tensor.name} is in {tensors[tensor.name].file} and again in {shard.path}; "
                    "save the checkpoint again"
                )
            tensors[tensor.name] = tensor
    if (path / INDEX).exists():
        _check_index(path / INDEX, tensors)
    if not tensors:
        raise NotACheckpoint(f"{path} holds no tensors; give a checkpoint that was saved completely")
    return Checkpoint(path=path, shards=shards, tensors=tensors, config=config)


def read_shard(path: Path) -> Shard:
    """The header of one safetensors file, checked: every byte of the file belongs to exactly one tensor."""
    try:
        stat = stamp(path)
        with path.open("rb") as file:
            length = _header_length(path, file.read(8), stat[0])
            raw = file.read(length)
    except FileNotFoundError as error:
        raise NotACheckpoint(f"{path} is missing, but the index names it; download it again") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    try:
        content = json.loads(raw, object_pairs_hook=_unique)
    except ValueError as error:
        raise BadHeader(f"{path} has a broken header ({error}); save or download it again") from error
    if not isinstance(content, dict):
        raise BadHeader(f"{path} has a header that is not a JSON object; save or download it again")
    metadata = content.pop("__metadata__", None) or {}
    start = 8 + length
    tensors = sorted(
        (_read_entry(path, name, entry, start) for name, entry in content.items()),
        key=lambda tensor: (tensor.start, tensor.nbytes),
    )
    _check_coverage(path, tensors, start, stat[0])
    return Shard(path=path, header=raw, metadata=metadata, tensors=tuple(tensors), stat=stat)


def _header_length(path: Path, prefix: bytes, size: int) -> int:
    if len(prefix) < 8:
        raise TruncatedFile(f"{path} is only {size} bytes long; download it again")
    length: int = struct.unpack("<Q", prefix)[0]
    if length > MAX_HEADER:
        raise BadHeader(f"{path} claims a header of {length} bytes, so it is not safetensors; save it again")
    if length > size - 8:
        raise TruncatedFile(
            f"{path} ends within its header ({size} of {8 + length} bytes); download it again"
        )
    return length


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a name appear twice, and readers differ in which one they keep."""
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"{name!r} appears twice")
        result[name] = value
    return result


def _read_entry(path: Path, name: str, entry: Any, start: int) -> Tensor:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise BadHeader(f"{path} describes {name} incompletely; save or download it again") from None
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise BadHeader(
            f"{path} gives {name} shape {shape}, bytes {begin} to {end}; save or download it again"
        )
    if dtype not in BITS:
        raise BadHeader(f"{path} gives {name} the unknown dtype {dtype!r}; save it as BF16, F16 or F32")
    if dtype in QUANTISED:
        raise QuantisedCheckpoint(
            f"{name} in {path} is {dtype}: averaging scaled codes is meaningless; "
            "give the checkpoint before quantisation (BF16, F16 or F32)"
        )
    expected = math.prod(shape) * BITS[dtype] // 8
    if end - begin != expected:
        raise BadHeader(
            f"{path} gives {name} {end - begin} bytes, but {dtype} of shape {list(shape)} takes {expected}; "
            "save or download it again"
        )
    return Tensor(name=name, dtype=dtype, shape=shape, file=path, start=start + begin, nbytes=expected)


def _check_coverage(path: Path, tensors: list[Tensor], start: int, size: int) -> None:
    position = start
    for tensor in tensors:
        if tensor.start != position:
            what = "overlaps the tensor before it" if tensor.start < position else "leaves a hole before it"
            raise BadHeader(f"{path}: the offsets of {tensor.name} are wrong, it {what}; save the file again")
        position += tensor.nbytes
    if position > size:
        broken = next(tensor for tensor in tensors if tensor.start + tensor.nbytes > size)
        raise TruncatedFile(
            f"{path} is truncated: {size} of {position} bytes, it ends within {broken.name}; "
            "download it again"
        )
    if position < size:
        raise BadHeader(f"{path} has {size - position} bytes that belong to no tensor; save the file again")


def _check_index(index: Path, tensors: dict[str, Tensor]) -> None:
    weight_map = read_weight_map(index)
    for name, file in weight_map.items():
        if name not in tensors:
            raise BadHeader(
                f"{index} places {name} in {file}, which does not have it; save the checkpoint again"
            )
        if tensors[name].file.name != file:
            raise BadHeader(
                f"{index} places {name} in {file}, but it is in {tensors[name].file.name}; save it again"
            )
    extra = [name for name in tensors if name not in weight_map]
    if extra:
        raise BadHeader(
            f"{tensors[extra[0]].file} has {extra[0]}, which {index.name} does not know; "
            "save the checkpoint again"
        )


def _refuse_quantised(path: Path, config: dict[str, Any] | None) -> None:
    quantisation = (config or {}).get("quantization_config")
    if quantisation:
        method = quantisation.get("quant_method", "unknown") if isinstance(quantisation, dict) else "unknown"
        raise QuantisedCheckpoint(
            f"{path / CONFIG} declares quantisation ({method}): averaging scaled codes is meaningless; "
            "give the checkpoint before quantisation (BF16, F16 or F32)"
        )


def _no_weights(path: Path) -> CheckpointError:
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in PICKLES)
    if pickles:
        return PickleCheckpoint(
            f"{path} has its weights only as pickles ({pickles[0]}), which can run code "
            "and are never loaded; "
            'convert them where you trust them: python -c "'
            "from transformers import AutoModelForCausalLM as M; "
            f"M.from_pretrained('{path}', dtype='auto').save_pretrained('{path}-safetensors')\""
        )
    if (path / "adapter_config.json").exists():
        return NotACheckpoint(f"{path} is a LoRA adapter, not a full checkpoint; give its base as --base")
    others = sorted(file.name for file in path.glob("*.safetensors"))
    if others:
        return NotACheckpoint(
            f"{path} has neither {SINGLE} nor {INDEX}, only {', '.join(others[:3])}; "
            f"rename a single file to {SINGLE}, or save the checkpoint with its index"
        )
    return NotACheckpoint(f"{path} holds no {SINGLE} and no {INDEX}; give the directory of a checkpoint")


def same_file(left: Path, right: Path) -> bool:
    """Whether both paths, existing or not, lead to the same place."""
    return os.path.realpath(left) == os.path.realpath(right)
