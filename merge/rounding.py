"""The one rounding of a merge: float64 to the output's dtype, to nearest or stochastically.

Casting float64 to float32 and then to bfloat16 would round twice and miss ties, so bfloat16 is rounded
on the bits of the float64: its significand is cut to 8 bits, which the casts after that keep exactly.
"""

import hashlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alpharay.merge.dtypes import BF16, FP64, Dtype

Rounding = Literal["nearest", "stochastic"]
Float64 = NDArray[np.float64]

# Elements per step of the kernel. A step's float64 work arrays stay in a core's second-level cache, and
# random draws and sums are taken per step, so results do not depend on threads or shard layout.
BLOCK = 32768


def draws(seed: int, tensor: str, block: int, size: int) -> NDArray[np.uint16]:
    """16 random bits for each of the `size` elements of one block of one tensor.

    A counter-based generator keyed by seed and name: any block can be drawn alone, in any order.
    All alphas of a merge share the draws, so neighbouring members differ by alpha and not by luck.
    """
    key = int.from_bytes(hashlib.blake2b(f"{seed}\0{tensor}".encode(), digest_size=16).digest(), "little")
    # One counter step yields 4 words of 64 bits, 16 draws.
    generator = np.random.Philox(key=key, counter=block * (BLOCK // 16))
    words = generator.random_raw(-(-size // 4))
    return words.astype("<u8").view("<u2")[:size]


class Rounder:
    """Rounds blocks of at most BLOCK float64 numbers to `dtype`. Holds scratch memory: one per thread."""

    def __init__(self, dtype: Dtype, rounding: Rounding) -> None:
        self.dtype = dtype
        self.stochastic = rounding == "stochastic"
        self._bits = np.empty(BLOCK, np.uint64)
        self._single = np.empty(BLOCK, np.float32)
        self._magnitude = np.empty(BLOCK, np.float64)

    def round(self, exact: Float64, out: NDArray[Any], random: NDArray[np.uint16] | None) -> Float64:
        """Writes `exact` to `out` (dtype.storage) and returns the written values as float64.

        The result may share memory with scratch; it is valid until the next call.
        random: one draw per element, for stochastic rounding.
        Raises FloatingPointError when a finite value overflows the dtype.
        """
        dtype = self.dtype
        if dtype is FP64:
            out[:] = exact
            return exact
        if not self.stochastic and dtype is not BF16:
            with np.errstate(over="raise"):
                np.copyto(out, exact, casting="same_kind")
            realised = self._bits[: exact.size].view(np.float64)
            np.copyto(realised, out, casting="same_kind")
            return realised
        realised = self._cut(exact, random)
        with np.errstate(over="raise"):
            if dtype is not BF16:
                np.copyto(out, realised, casting="same_kind")
                return realised
            single = self._single[: exact.size]
            np.copyto(single, realised, casting="same_kind")
        np.right_shift(single.view(np.uint32), 16, out=out, casting="unsafe")
        return realised

    def _cut(self, exact: Float64, random: NDArray[np.uint16] | None) -> Float64:
        """`exact` rounded to the dtype's precision, still as float64."""
        dtype = self.dtype
        drop = FP64.fraction_bits - dtype.fraction_bits
        bits = exact.view(np.uint64)
        cut = self._bits[: exact.size]
        if random is None:
            # To nearest, ties to even: add just under one half, plus one where the kept part is odd.
            np.right_shift(bits, np.uint64(drop), out=cut)
            np.bitwise_and(cut, np.uint64(1), out=cut)
            np.add(cut, np.uint64((1 << (drop - 1)) - 1), out=cut)
        else:
            # A uniform number in (0, 1) of the last kept place; never 0 or 1, so exact values stay.
            np.left_shift(random, np.uint64(drop - 16), out=cut, dtype=np.uint64)
            np.add(cut, np.uint64(1 << (drop - 17)), out=cut)
        np.add(cut, bits, out=cut)
        np.bitwise_and(cut, np.uint64((1 << 64) - (1 << drop)), out=cut)
        realised = cut.view(np.float64)
        self._fix_subnormals(exact, realised, random)
        return realised

    def _fix_subnormals(self, exact: Float64, realised: Float64, random: NDArray[np.uint16] | None) -> None:
        """Below the smallest normal number the spacing is constant and the significand gets shorter."""
        smallest = 2.0**self.dtype.min_exponent
        magnitude = np.abs(exact, out=self._magnitude[: exact.size])
        small = np.flatnonzero(magnitude < smallest)
        if not small.size:
            return
        places = float(self.dtype.fraction_bits - self.dtype.min_exponent)
        scaled = exact[small] * 2.0**places
        if random is None:
            whole = np.rint(scaled)
        else:
            whole = np.copysign(np.floor(np.abs(scaled) + (random[small] + 0.5) / 65536), scaled)
        realised[small] = whole * 2.0**-places
