"""The one rounding of a merge: float64 to the output's dtype, to nearest or stochastically.

Casting float64 to float32 and then to bfloat16 would round twice. Here a number is rounded to the spacing
of the dtype's numbers around it while it is still a float64; the casts after that are exact. The spacing
comes from a sum: x + m - m, where m is so large that the float64 steps near m are the wanted spacing.
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


EXPONENT = np.uint64(0x7FF0000000000000)


class Rounder:
    """Rounds blocks of at most BLOCK float64 numbers to `dtype`. Holds scratch memory: one per thread."""

    def __init__(self, dtype: Dtype, rounding: Rounding) -> None:
        self.dtype = dtype
        self.stochastic = rounding == "stochastic"
        self._rounded = np.empty(BLOCK)
        self._power = np.empty(BLOCK)
        self._single = np.empty(BLOCK, np.float32)

    def round(self, exact: Float64, out: NDArray[Any], random: NDArray[np.uint16] | None) -> Float64:
        """Writes `exact` to `out` (dtype.storage) and returns the written values as float64.

        random: one draw per element, for stochastic rounding. The result is scratch memory, valid until
        the next call. Raises FloatingPointError when a value overflows the dtype.
        """
        if self.dtype is FP64:
            out[:] = exact
            return exact
        # invalid: a float64 so large that it has no number of its spacing added; it fits nothing else.
        with np.errstate(over="raise", invalid="raise"):
            rounded = self._to_spacing(exact, random)
            if self.dtype is not BF16:
                np.copyto(out, rounded, casting="same_kind")
                return rounded
            single = self._single[: exact.size]
            np.copyto(single, rounded, casting="same_kind")
        np.right_shift(single.view(np.uint32), np.uint32(16), out=out, casting="unsafe")
        return rounded

    def _to_spacing(self, exact: Float64, random: NDArray[np.uint16] | None) -> Float64:
        """The multiples of the dtype's spacing nearest to `exact`, ties to even."""
        rounded, power = self._rounded[: exact.size], self._power[: exact.size]
        # The power of two below |x|; subnormal numbers have the spacing of the smallest normal one.
        np.bitwise_and(exact.view(np.uint64), EXPONENT, out=power.view(np.uint64))
        np.maximum(power, 2.0**self.dtype.min_exponent, out=power)
        if random is None:
            source = exact
        else:
            # To nearest after adding a uniform number within half a spacing: up as often as x is near.
            # The draws lie strictly within, so that values which need no rounding stay.
            np.subtract(random, 32767.5, out=rounded)
            np.multiply(rounded, 2.0 ** (-16 - self.dtype.fraction_bits), out=rounded)
            np.multiply(rounded, power, out=rounded)
            source = np.add(rounded, exact, out=rounded)
        # 1.5 keeps the sum within one power of two, for either sign of x.
        np.multiply(power, 1.5 * 2.0 ** (FP64.fraction_bits - self.dtype.fraction_bits), out=power)
        np.add(source, power, out=rounded)
        np.subtract(rounded, power, out=rounded)
        if not rounded.all():
            # m - m is +0; a negative number rounds to -0.
            zero = np.flatnonzero(rounded == 0.0)
            rounded[zero] = np.copysign(0.0, exact[zero])
        return rounded
