"""The kernel of merge/combine.py as one compiled pass (block.c), where this machine has a C compiler.

The numpy kernel passes some twenty times over each block. It remains the reference: what is written here has its bits,
and what block.c does not do (stochastic rounding, float64 outputs, blocks to refuse or to copy) is left to it.
A merge that is large enough to pay for it compiles its own library, in less CPU time than numba takes to import, tries it
against numpy, and keeps nothing: a folder of libraries would have to be trusted, and code made for one processor
could meet another.
"""

import ctypes
import math
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpharay.merge.combine import Combination, Kernel, Sums
from alpharay.merge.dtypes import BF16, FP16, FP32, FP64, WRITABLE, Dtype
from alpharay.merge.rounding import BLOCK

# -ffp-contract=off: a fused product and sum is rounded once, numpy's are rounded twice.
FLAGS = (
    "-O2", "-ftree-vectorize", "-march=native", "-std=gnu11", "-shared", "-fPIC",
    "-ffp-contract=off", "-fno-fast-math", "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing",
)  # fmt: skip
# As block.c has room for.
MOST_SOURCES = 8
# Weights to write from which on compiling pays.
COMPILE_FROM = 100_000_000
# Seconds after which a compiler is given up.
_PATIENCE = 60

_CODES = {"BF16": 0, "F16": 1, "F32": 2, "F64": 3}
_ASK_NUMPY = 1


class NativeKernel:
    """The compiled kernel. Holds no state: one for all threads, which it lets run (ctypes releases the GIL)."""

    def __init__(self, library: Path) -> None:
        """Loads a compiled library. Raises OSError."""
        self._blocks = ctypes.CDLL(str(library)).alpharay_blocks
        self._blocks.restype = None

    @staticmethod
    def takes(stored: Sequence[NDArray[Any]], target: Dtype) -> bool:
        """Whether tensors `stored` can be written as `target`; otherwise numpy does it."""
        return 2 <= len(stored) <= MOST_SOURCES and target is not FP64

    def blocks(
        self,
        combinations: Sequence[Combination],
        stored: Sequence[NDArray[Any]],
        dtypes: Sequence[Dtype],
        outs: Sequence[NDArray[Any]],
        target: Dtype,
        *,
        along_delta: bool,
    ) -> list[list[Sums] | None]:
        """Fills outs[k] (target.storage) with combinations[k] of `stored`, as Kernel.block does; sums[block][output].

        All arrays are 1-d and contiguous, with the same size, cut into blocks of BLOCK elements. None stands for a block
        that is left to the numpy kernel: its numbers must be refused, or all checkpoints are equal there.
        """
        size, deltas = stored[0].size, len(stored) - 1
        count, row = -(-size // BLOCK), (deltas if along_delta else 1) + 2
        sources = [-1 if (source := c.copy_of) is None else source for c in combinations]
        gram = np.empty((count, deltas, deltas))
        sums = np.empty((count, len(outs), row))
        states = (ctypes.c_int * count)()
        self._blocks(
            size, BLOCK, len(stored), _pointers(stored), _ints(_CODES[dtype.code] for dtype in dtypes),
            len(outs), _pointers(outs), _CODES[target.code], _doubles(c.scale for c in combinations),
            _doubles(value for c in combinations for value in c.coefficients), _ints(sources), int(along_delta),
            ctypes.c_void_p(gram.ctypes.data), ctypes.c_void_p(sums.ctypes.data), states,
        )  # fmt: skip
        copied = [source if source >= 0 and dtypes[source] is target else -1 for source in sources]
        return [
            None if state == _ASK_NUMPY else _sums(lengths, rows, copied, along_delta=along_delta)
            for state, lengths, rows in zip(states, gram.tolist(), sums.tolist(), strict=True)
        ]


def _sums(
    gram: list[list[float]], rows: list[list[float]], copied: Sequence[int], *, along_delta: bool
) -> list[Sums]:
    whole = tuple(map(tuple, gram))
    result = []
    for source, row in zip(copied, rows, strict=True):
        if along_delta:
            along, error = whole, tuple(row[:-2])
        else:
            length = row[-1] if source < 0 else gram[source - 1][source - 1] if source else 0.0
            along, error = ((length,),), (row[0],)
        result.append(Sums(error_along=error, gram=along, error_error=row[-2]))
    return result


def _pointers(arrays: Sequence[NDArray[Any]]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.__array_interface__["data"][0] for array in arrays))


def _ints(values: Iterable[int]) -> Any:
    listed = list(values)
    return (ctypes.c_int * len(listed))(*listed)


def _doubles(values: Iterable[float]) -> Any:
    listed = list(values)
    return (ctypes.c_double * len(listed))(*listed)


def native_kernel(weights: int) -> NativeKernel | None:
    """The compiled kernel, where it pays for so many weights to write and this machine can make it; else numpy computes."""
    return compile_kernel(_source()) if weights >= COMPILE_FROM else None


def compile_kernel(source: bytes) -> NativeKernel | None:
    """What CC, else `cc`, makes of block.c; None where that fails, or writes other bits than numpy."""
    try:
        compiler = shlex.split(os.environ.get("CC") or "cc")
        with tempfile.TemporaryDirectory(prefix="alpharay-") as folder:
            library = Path(folder) / "block.so"
            subprocess.run(
                [*compiler, *FLAGS, "-x", "c", "-", "-o", str(library), "-lm"],
                input=source, capture_output=True, check=True, timeout=_PATIENCE,
            )  # fmt: skip
            kernel = NativeKernel(library)  # stays loaded without its file
    # No compiler, one that refuses or hangs, no room, a folder without execution, no such function in the library.
    except (OSError, ValueError, AttributeError, subprocess.SubprocessError):
        return None
    return kernel if _agrees(kernel) else None


def _source() -> bytes:
    return resources.files(__package__).joinpath("block.c").read_bytes()


def _alike(sums: Sums, expected: Sums) -> bool:
    """Sums of as many numbers in another order."""
    scale = math.sqrt(expected.error_error * max(max(row) for row in expected.gram))
    return (
        math.isclose(sums.error_error, expected.error_error, rel_tol=1e-9)
        and np.allclose(sums.gram, expected.gram, rtol=1e-9, atol=0.0)
        and np.allclose(sums.error_along, expected.error_along, rtol=1e-9, atol=1e-9 * scale)
    )


def _agrees(kernel: NativeKernel) -> bool:
    """Whether a compiler made of block.c what numpy computes, on any bits of every dtype that are not too large."""
    random = np.random.default_rng(0)
    weights = [(1.0, 0.0), (1.0, 0.3), (1.0, 0.5), (1.0, 1.0), (1.0, -1.7), (0.3, 0.3)]
    size = 4099
    # One direction and several, and sums along them or along the whole move, are different loops.
    for target, sources, along_delta in product(WRITABLE.values(), (2, 3), (True, False)):
        combinations = [Combination(scale=s, coefficients=(c,) * (sources - 1)) for s, c in weights]
        for dtype in (BF16, FP16, FP32):
            bits = random.integers(0, 1 << 8 * dtype.itemsize, (sources, size), np.uint64)
            # Without the two highest bits of the exponent where the first is set: at most 2.
            top = 1 << 8 * dtype.itemsize - 2
            bits = np.where(bits & top, bits & (top - 1), bits)
            # x * 0.3 + (0 - x) * 0.3 is zero, unless a product is fused with a sum.
            bits[1, ::16] = 0
            stored = list(bits.astype(f"u{dtype.itemsize}").view(dtype.storage))
            outs = [np.empty((len(combinations), size), target.storage) for _ in range(2)]
            (sums,) = kernel.blocks(
                combinations, stored, [dtype] * sources, list(outs[0]), target, along_delta=along_delta
            )
            numpy = Kernel(sources, rounding="nearest", seed=0, along_delta=along_delta)
            expected = numpy.block("", 0, combinations, stored, [dtype] * sources, list(outs[1]), target)
            if sums is None or outs[0].tobytes() != outs[1].tobytes():
                return False
            if not all(map(_alike, sums, expected)):
                return False
    return True
