"""`alpharay merge --plan`: what a merge would write and what alpha would become, from a sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alpharay.merge.checkpoints.inputs import Inputs
from alpharay.merge.checkpoints.layout import Layout, plan_layout
from alpharay.merge.combine import Sums
from alpharay.merge.compute.plan import Output, Plan
from alpharay.merge.compute.stream import Piece, run_pieces
from alpharay.merge.effective import Realised, add, by_group
from alpharay.merge.rounding import BLOCK
from alpharay.merge.write.manifest import companion_records, find_done
from alpharay.merge.write.target import check_space, check_target
from alpharay.merge.write.write import find_warnings

# Tensors looked at, spread evenly over the model, one block of each: some 8 million weights at most.
SAMPLE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be written. outputs: (name, what became of alpha, the same by layer group).

    nbytes: of all outputs together. sampled, total: how many weights were looked at, and there are.
    done: the output directory holds this merge already.
    """

    layout: Layout
    outputs: tuple[tuple[str, Realised, dict[str, float]], ...]
    nbytes: int
    sampled: int
    total: int
    warnings: tuple[str, ...]
    done: bool


def preview(plan: Plan, out: Path | None, *, threads: int = 2) -> Preview:
    """Checks all that a merge to `out` would check before it writes, and rounds a sample of the weights.

    Raises MergeError as the merge would; a NaN or an overflow outside of the sample is not seen.
    """
    layout = plan_layout(plan.sources[0].checkpoint, plan.settings.dtype, plan.settings.shard_bytes)
    companions = sum(file.bytes for file in companion_records(plan))
    nbytes = (layout.nbytes + len(layout.index or b"") + companions) * len(plan.outputs)
    done = False
    if out is not None:
        check_target(out, [source.checkpoint.path for source in plan.sources])
        done = find_done(plan, out) is not None
        if not done:
            check_space(out, nbytes)
    tensors: list[dict[str, Sums]] = [{} for _ in plan.outputs]
    sampled = 0
    with Inputs([source.checkpoint for source in plan.sources]) as inputs:
        for part in run_pieces(plan, inputs, sample(plan), threads):
            sampled += part.piece.end - part.piece.begin
            for k, sums in enumerate(tensors):
                sums[part.piece.tensors[0].name] = add(block[k] for block in part.sums)
    records = [
        (output.name, plan.realised(output, add(sums.values())), _groups(plan, output, sums))
        for output, sums in zip(plan.outputs, tensors, strict=True)
    ]
    return Preview(
        layout=layout,
        outputs=tuple(records),
        nbytes=nbytes,
        sampled=sampled,
        total=sum(tensor.size for tensor in plan.sources[0].checkpoint.tensors.values() if tensor.is_float),
        warnings=find_warnings(plan, [whole.effective_alpha for _, whole, _ in records], tensors[0]),
        done=done,
    )


def sample(plan: Plan) -> Iterator[Piece]:
    """One block from the middle of evenly spread float tensors; the same ones every time."""
    floats = [
        tensor
        for shard in plan.sources[0].checkpoint.shards
        for tensor in shard.tensors
        if tensor.is_float and tensor.size
    ]
    step = max(1, -(-len(floats) // SAMPLE))
    for tensor in floats[::step]:
        # Blocks begin where those of the merge do, so that stochastic draws are the same.
        begin = (tensor.size // 2) // BLOCK * BLOCK
        twins = tuple(source.checkpoint.tensors[tensor.name] for source in plan.sources)
        yield Piece(tensors=twins, begin=begin, end=min(begin + BLOCK, tensor.size))


def _groups(plan: Plan, output: Output, sums: dict[str, Sums]) -> dict[str, float]:
    return {group: plan.realised(output, part).effective_alpha for group, part in by_group(sums).items()}
