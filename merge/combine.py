"""The one kernel: theta = scale * anchor + sum_j coefficient_j * (checkpoint_j - anchor).

Every method of methods.py is such a combination. With scale 1, weights that sum to one never lose
digits in cancelling sums: where a checkpoint equals the anchor, so does the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpharay.merge.dtypes import BF16, Dtype
from alpharay.merge.rounding import BLOCK, Float64, Rounder, Rounding, draws

# OpenBLAS starts threads for dot products beyond 10,000 elements; rows below that stay on this thread.
DOT_ROW = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """The weights of one output, relative to the anchor (checkpoint 0).

    scale: of the anchor. coefficients: of (checkpoint_j - anchor) for j = 1, 2, ...
    """

    scale: float = 1.0
    coefficients: tuple[float, ...]

    @property
    def copy_of(self) -> int | None:
        """The checkpoint that this combination equals exactly, if it does."""
        if self.scale != 1.0 or any(value not in (0.0, 1.0) for value in self.coefficients):
            return None
        moved = [j for j, value in enumerate(self.coefficients, 1) if value]
        return None if len(moved) > 1 else moved[0] if moved else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What the rounding did to one block of one output, as float64 sums over its elements.

    The directions are the deltas of all checkpoints from the anchor, or else one: the output's ideal move away from
    the anchor. With `error` the written minus the exact value, error_along[i] = sum(error * direction_i),
    gram[i][j] = sum(direction_i * direction_j), and error_error = sum(error * error).
    """

    error_along: tuple[float, ...]
    gram: tuple[tuple[float, ...], ...]
    error_error: float

    @property
    def unmoved(self) -> bool:
        """Whether every direction is zero."""
        return not any(row[i] for i, row in enumerate(self.gram))


class NonFiniteBlock(ArithmeticError):
    """Block-level finding: checkpoint `source` has a NaN or Inf at element `index` of the block."""

    def __init__(self, source: int, index: int) -> None:
        super().__init__(source, index)
        self.source = source
        self.index = index


class OverflowedBlock(ArithmeticError):
    """Block-level finding: output `output` does not fit its dtype, at value `value`."""

    def __init__(self, output: int, value: float) -> None:
        super().__init__(output, value)
        self.output = output
        self.value = value


def dot(left: Float64, right: Float64) -> float:
    """sum(left * right) of two 1-d arrays, on this thread only."""
    whole = left.size - left.size % DOT_ROW
    rows = np.vecdot(left[:whole].reshape(-1, DOT_ROW), right[:whole].reshape(-1, DOT_ROW))
    return float(rows.sum()) + float(np.vecdot(left[whole:], right[whole:]))


def widen(stored: NDArray[Any], dtype: Dtype, out: Float64, scratch: NDArray[np.float32]) -> None:
    """The numbers in `stored` (dtype.storage) as float64, exactly."""
    if dtype is BF16:
        single = scratch[: stored.size]
        np.left_shift(stored, 16, out=single.view(np.uint32), dtype=np.uint32)
        np.copyto(out, single)
    else:
        np.copyto(out, stored)


def _gram(deltas: Float64, lengths: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """The inner products of the deltas, whose own lengths (squared) are known."""
    rows = [[0.0] * len(deltas) for _ in deltas]
    for i, length in enumerate(lengths):
        rows[i][i] = length
        for j in range(i):
            rows[i][j] = rows[j][i] = dot(deltas[i], deltas[j])
    return tuple(map(tuple, rows))


class Kernel:
    """Computes blocks of all outputs from blocks of all checkpoints. Holds scratch memory: one per thread."""

    def __init__(self, sources: int, *, rounding: Rounding, seed: int, along_delta: bool) -> None:
        """sources: how many checkpoints. along_delta: whether directions of Sums are the deltas, see there."""
        self.rounding: Rounding = rounding
        self.seed = seed
        self.along_delta = along_delta
        self._wide = np.empty((sources, BLOCK))
        self._deltas = np.empty((sources - 1, BLOCK))
        self._exact = np.empty(BLOCK)
        self._move = np.empty(BLOCK)
        self._single = np.empty(BLOCK, np.float32)
        self._rounders: dict[str, Rounder] = {}

    def block(
        self,
        tensor: str,
        block: int,
        combinations: Sequence[Combination],
        stored: Sequence[NDArray[Any]],
        dtypes: Sequence[Dtype],
        outs: Sequence[NDArray[Any]],
        dtype: Dtype,
    ) -> list[Sums]:
        """Fills outs[k] (dtype.storage) with combinations[k] of the blocks `stored`, one per checkpoint.

        tensor, block: name the random draws. All arrays are 1-d with the same size, at most BLOCK.
        Raises NonFiniteBlock, OverflowedBlock.
        """
        size = stored[0].size
        wide, deltas = self._wide[:, :size], self._deltas[:, :size]
        rounder = self._rounder(dtype)
        for j, array in enumerate(stored):
            widen(array, dtypes[j], wide[j], self._single)
        with np.errstate(invalid="ignore", over="ignore"):
            for j in range(1, len(stored)):
                np.subtract(wide[j], wide[0], out=deltas[j - 1])
            # A delta's length is finite only if both ends are.
            lengths = [dot(delta, delta) for delta in deltas]
            if not np.isfinite(lengths or dot(wide[0], wide[0])).all():
                self._refuse_non_finite(wide)
        gram = _gram(deltas, lengths) if self.along_delta else ()
        unchanged = len(deltas) > 0 and not any(lengths) and not deltas.any()
        random = draws(self.seed, tensor, block, size) if rounder.stochastic else None
        sums = []
        for k, combination in enumerate(combinations):
            source = combination.copy_of
            if source is None and combination.scale == 1.0 and unchanged:
                source = 0
            if source is not None and dtypes[source] is dtype:
                outs[k][:] = stored[source]
                along = gram if self.along_delta else ((lengths[source - 1] if source else 0.0,),)
                sums.append(Sums(error_along=(0.0,) * len(along), gram=along, error_error=0.0))
                continue
            exact = self._combine(combination, source, wide, deltas)
            try:
                realised = rounder.round(exact, outs[k], random)
            except FloatingPointError:
                raise OverflowedBlock(k, float(np.abs(exact).max())) from None
            if self.along_delta:
                directions, along = list(deltas), gram
            else:
                directions = [np.subtract(exact, wide[0], out=self._move[:size])]
                along = ((dot(directions[0], directions[0]),),)
            error = np.subtract(realised, exact, out=exact)
            sums.append(
                Sums(
                    error_along=tuple(dot(error, direction) for direction in directions),
                    gram=along,
                    error_error=dot(error, error),
                )
            )
        return sums

    def _combine(
        self, combination: Combination, source: int | None, wide: Float64, deltas: Float64
    ) -> Float64:
        """The exact combination, or checkpoint `source` as it is, in scratch memory."""
        size = wide.shape[1]
        exact, move = self._exact[:size], self._move[:size]
        if source is not None:
            exact[:] = wide[source]
            return exact
        anchor = wide[0]
        if combination.scale != 1.0 or not len(deltas):
            anchor = np.multiply(anchor, combination.scale, out=exact)
        for delta, coefficient in zip(deltas, combination.coefficients, strict=True):
            anchor = np.add(anchor, np.multiply(delta, coefficient, out=move), out=exact)
        return exact

    def _rounder(self, dtype: Dtype) -> Rounder:
        if dtype.code not in self._rounders:
            self._rounders[dtype.code] = Rounder(dtype, self.rounding)
        return self._rounders[dtype.code]

    @staticmethod
    def _refuse_non_finite(wide: Float64) -> None:
        for source, array in enumerate(wide):
            bad = np.flatnonzero(~np.isfinite(array))
            if bad.size:
                raise NonFiniteBlock(source, int(bad[0]))
