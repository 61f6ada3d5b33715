"""theta(alpha) tensor by tensor in memory, the same bits that a merge would write."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpharay.merge.checkpoints.inputs import Inputs
from alpharay.merge.checkpoints.layout import output_code
from alpharay.merge.compute.plan import Plan
from alpharay.merge.compute.stream import cut, run_pieces
from alpharay.merge.dtypes import BITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One tensor of an output: `data` are its bytes (uint8), `dtype` its safetensors code."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]


def weights(plan: Plan, *, threads: int = 2) -> Iterator[Weight]:
    """Every tensor of the plan's only output, in the order of the first input's files.

    Each is freshly allocated, so memory is the largest tensor plus what the caller keeps. Raises MergeError
    as the merge would, when the tensor concerned is reached.
    """
    if len(plan.outputs) != 1:
        raise ValueError(f"one output at a time, the plan has {len(plan.outputs)}")
    anchor = plan.sources[0].checkpoint
    with Inputs([source.checkpoint for source in plan.sources]) as inputs:
        for shard in anchor.shards:
            done = run_pieces(plan, inputs, cut(plan, shard.tensors), threads)
            for tensor in shard.tensors:
                code = output_code(tensor, plan.settings.dtype)
                itemsize = BITS[code] // 8
                data = np.empty(tensor.size * itemsize, np.uint8)
                filled = 0
                while filled < tensor.size:
                    part = next(done)
                    end = part.piece.end
                    data[filled * itemsize : end * itemsize] = np.frombuffer(part.written[0], np.uint8)
                    filled = end
                yield Weight(name=tensor.name, dtype=code, shape=tensor.shape, data=data)
