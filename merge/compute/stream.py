"""The one pass: pieces of every tensor are read and combined on threads, and written in order.

A piece is a function of the inputs alone, and every file is written and hashed piece by piece, in the order of
the layout. So the outputs do not depend on how many threads there are or which one is faster.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from alpharay.merge.checkpoints.checkpoint import Tensor
from alpharay.merge.checkpoints.inputs import Inputs
from alpharay.merge.checkpoints.layout import output_code, output_dtype
from alpharay.merge.combine import Kernel, NonFiniteBlock, OverflowedBlock, Sums
from alpharay.merge.compute.native import NativeKernel
from alpharay.merge.compute.ordered import ordered
from alpharay.merge.compute.plan import Plan
from alpharay.merge.dtypes import BITS, FLOATS
from alpharay.merge.errors import IntegerMismatch, NonFinite, OverflowedOutput, QuantisedCheckpoint
from alpharay.merge.rounding import BLOCK

# Bytes of a piece in bfloat16, all inputs and outputs. What is computed is written and hashed next: more than a core's
# second-level cache would come back from memory, and cost a quarter more CPU time at six outputs.
_PIECE_BYTES = 2 << 20
_MOST_BLOCKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Elements [begin, end) of one tensor, which lies in `tensors[j]` of source j."""

    tensors: tuple[Tensor, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished piece: the bytes read from each source, the bytes for each output, sums[block][output]."""

    piece: Piece
    slot: "Slot"
    read: tuple[memoryview, ...]
    written: tuple[memoryview, ...]
    sums: list[list[Sums]]


class Slot:
    """The memory that one piece needs, used by one thread at a time."""

    def __init__(self, plan: Plan, piece: int) -> None:
        self.kernel = Kernel(
            len(plan.sources),
            rounding=plan.settings.rounding,
            seed=plan.settings.seed,
            along_delta=plan.along_delta,
        )
        # Eight bytes hold an element of any dtype; the pages of a buffer that stays unused cost nothing.
        self.reads = [np.empty(piece * 8, np.uint8).data for _ in plan.sources]
        self.writes = [np.empty(piece * 8, np.uint8).data for _ in plan.outputs]


def run_pieces(
    plan: Plan, inputs: Inputs, todo: Iterable[Piece], threads: int, native: NativeKernel | None = None
) -> Iterator[Done]:
    """The pieces in `todo`, read and combined, in order.

    native: computes what it can; numpy does the rest. A piece's memory is reused as soon as the next one is requested.
    Raises NonFinite, OverflowedOutput, IntegerMismatch, TruncatedFile.
    """
    size = piece_size(plan)
    slots: SimpleQueue[Slot] = SimpleQueue()
    for _ in range(threads + 1):
        slots.put(Slot(plan, size))
    for done in ordered(lambda piece: _run(plan, inputs, piece, slots.get(), native), todo, threads):
        yield done
        slots.put(done.slot)


def piece_size(plan: Plan) -> int:
    """Elements per piece: fewer when many inputs and outputs share the cache."""
    blocks = _PIECE_BYTES // (2 * BLOCK * (len(plan.sources) + len(plan.outputs)))
    return BLOCK * min(max(blocks, 1), _MOST_BLOCKS)


def cut(plan: Plan, tensors: Iterable[Tensor]) -> Iterator[Piece]:
    """The tensors of source 0 in pieces of at most piece_size(), in order."""
    size = piece_size(plan)
    for tensor in tensors:
        twins = tuple(source.checkpoint.tensors[tensor.name] for source in plan.sources)
        for begin in range(0, tensor.size, size):
            yield Piece(tensors=twins, begin=begin, end=min(begin + size, tensor.size))


def _run(plan: Plan, inputs: Inputs, piece: Piece, slot: Slot, native: NativeKernel | None) -> Done:
    read: list[memoryview] = []
    for source, tensor, buffer in zip(plan.sources, piece.tensors, slot.reads, strict=True):
        itemsize = BITS[tensor.dtype] // 8
        view = buffer[: (piece.end - piece.begin) * itemsize]
        if source.delta is None:
            inputs.read(tensor, piece.begin * itemsize, view)
        else:
            start, size = source.delta.extent(tensor, piece.begin, piece.end)
            blocks = inputs.read_raw(source.checkpoint.shards[0], start, size)
            source.delta.apply(tensor, piece.begin, read[0], view, blocks)
        read.append(view)
    anchor = piece.tensors[0]
    itemsize = BITS[output_code(anchor, plan.settings.dtype)] // 8
    written = tuple(buffer[: (piece.end - piece.begin) * itemsize] for buffer in slot.writes)
    if anchor.is_float:
        sums = _combine(plan, piece, slot.kernel, native, read, written)
    else:
        _copy_equal(piece, read, written)
        sums = []
    return Done(piece=piece, slot=slot, read=tuple(read), written=written, sums=sums)


def _combine(
    plan: Plan,
    piece: Piece,
    kernel: Kernel,
    native: NativeKernel | None,
    read: Sequence[memoryview],
    written: Sequence[memoryview],
) -> list[list[Sums]]:
    anchor = piece.tensors[0]
    dtypes = [FLOATS[tensor.dtype] for tensor in piece.tensors]
    target = output_dtype(anchor, plan.settings.dtype)
    combinations = [output.combination_of(anchor.name) for output in plan.outputs]
    stored = [np.frombuffer(view, dtype.storage) for view, dtype in zip(read, dtypes, strict=True)]
    outs = [np.frombuffer(view, target.storage) for view in written]
    known: list[list[Sums] | None] = [None] * -(-stored[0].size // BLOCK)
    if native is not None and native.takes(stored, target):
        known = native.blocks(combinations, stored, dtypes, outs, target, along_delta=plan.along_delta)
    sums = []
    for done, start in zip(known, range(0, piece.end - piece.begin, BLOCK), strict=True):
        if done is not None:
            sums.append(done)
            continue
        elements = slice(start, start + BLOCK)
        block = (piece.begin + start) // BLOCK
        try:
            sums.append(
                kernel.block(
                    anchor.name,
                    block,
                    combinations,
                    [array[elements] for array in stored],
                    dtypes,
                    [array[elements] for array in outs],
                    target,
                )
            )
        except NonFiniteBlock as error:
            tensor = piece.tensors[error.source]
            raise NonFinite(
                f"{tensor.name} in {tensor.file} is NaN or Inf at element {block * BLOCK + error.index}; "
                "that checkpoint is broken, give an earlier one"
            ) from None
        except OverflowedBlock as error:
            raise OverflowedOutput(
                f"{anchor.name} reaches {error.value:.3g} at {plan.outputs[error.output].name}, more than "
                f"{target.name} can hold; write --dtype {'bf16' if target.name == 'fp16' else 'fp32'} "
                "or an alpha nearer to the endpoints"
            ) from None
    return sums


def _copy_equal(piece: Piece, read: Sequence[memoryview], written: Sequence[memoryview]) -> None:
    anchor = piece.tensors[0]
    for tensor, view in zip(piece.tensors[1:], read[1:], strict=True):
        if not np.array_equal(np.frombuffer(view, np.uint8), np.frombuffer(read[0], np.uint8)):
            message = (
                f"{anchor.name} is {anchor.dtype} and differs between {anchor.file} and {tensor.file}; "
                "integers have no average"
            )
            if "qweight" in anchor.name or "qzeros" in anchor.name:
                raise QuantisedCheckpoint(message + ": give the checkpoints before quantisation")
            raise IntegerMismatch(message + ": give two checkpoints of one model")
    for view in written:
        view[:] = read[0]
