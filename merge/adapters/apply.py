"""The checkpoint that a LoRA adapter makes of its base, written in float32."""

from pathlib import Path

import numpy as np

from alpharay.merge.adapters.adapter import Adapter, Factors, open_adapter
from alpharay.merge.checkpoints.checkpoint import Checkpoint, Tensor, open_checkpoint
from alpharay.merge.errors import AdapterMismatch
from alpharay.merge.rounding import Float64
from alpharay.merge.write.derived import write_derived

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

    def update(tensor: Tensor, begin: int, end: int) -> Float64 | None:
        factors = adapted.get(tensor.name)
        if factors is None:
            return None
        return _update(factors, tensor, begin, end, transposed=_transposed(opened, factors))

    return write_derived(checkpoint, update, out, reason=str(adapter))


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
