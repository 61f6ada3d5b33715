"""A null baseline for merges: a checkpoint as far from another as a third is, in a random direction."""

import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alpharay.merge.checkpoints.checkpoint import Tensor, open_checkpoint
from alpharay.merge.checkpoints.compatible import check_compatible
from alpharay.merge.checkpoints.inputs import Inputs
from alpharay.merge.rounding import Float64
from alpharay.merge.write.derived import block_bounds, read_block, write_derived


def write_random_direction(
    *, start: Path, end: Path, out: Path, seed: int, allow_config: Sequence[str] = ()
) -> Path:
    """Writes start + r to `out`, in float32, where r is random and has the norm of end - start in every tensor.

    r has normal entries from `seed` and the tensor's name. allow_config: fields of config.json that may differ. An `out` that is there already is taken to be this
    checkpoint. Raises MergeError.
    """
    if out.is_dir():
        return out
    first, last = open_checkpoint(start), open_checkpoint(end)
    check_compatible(first, last, any_dtype=True, allow_config=allow_config)
    with Inputs([first, last]) as inputs:
        scales: dict[str, float] = {}
        for tensor in first.tensors.values():
            if tensor.is_float:
                scales[tensor.name] = _scale(inputs, tensor, last.tensors[tensor.name], seed)
    generators: dict[str, np.random.Generator] = {}

    def update(tensor: Tensor, begin: int, stop: int) -> Float64:
        generator = generators.setdefault(tensor.name, _generator(tensor, seed))  # blocks come in their order
        return scales[tensor.name] * generator.standard_normal(stop - begin)

    return write_derived(first, update, out, reason="a random direction")


def _scale(inputs: Inputs, tensor: Tensor, end: Tensor, seed: int) -> float:
    """What standard normal entries are multiplied with, so that they have the norm of the step."""
    generator = _generator(tensor, seed)
    step = noise = 0.0
    for begin, stop in block_bounds(tensor):
        delta = read_block(inputs, end, begin, stop) - read_block(inputs, tensor, begin, stop)
        random = generator.standard_normal(stop - begin)
        step += float(delta @ delta)
        noise += float(random @ random)
    return math.sqrt(step / noise) if noise else 0.0


def _generator(tensor: Tensor, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(tensor.name.encode())])
